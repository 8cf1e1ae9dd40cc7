"""What the configuration lists: destinations, routes and tasks."""

import re
from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, WithJsonSchema

from cambwatch.config.fields import (
    NULLABLE_TEXT,
    VARIABLE,
    Count,
    EmptyAllowed,
    Flag,
    KindName,
    Label,
    LabelValue,
    Name,
    OneOrMany,
    ShortText,
    Span,
    SpanOrNone,
    TaskId,
    TerminalStatus,
    enum_schema,
    number_schema,
    one_or_many,
    text_schema,
)
from cambwatch.config.readers import choice, number, one_line, or_none, read_json, read_text, shown, whole
from cambwatch.config.secrets import (
    HeaderFile,
    HeaderValue,
    SigningSecret,
    SigningSecretFile,
    UrlInFile,
    UrlInPlace,
)
from cambwatch.config.templates import TemplateInFile, TemplateInPlace
from cambwatch.core.accounts import DEFAULT_ACCOUNT
from cambwatch.core.delivery.retry import RetryPolicy
from cambwatch.core.model import Registration, TaskKey
from cambwatch.core.redaction import Secret
from cambwatch.core.routing import Condition, Destination, RateLimit, Route
from cambwatch.core.templates import BodyTemplate

CHATS = ("slack", "discord", "teams", "google_chat", "mattermost", "apprise")
TYPES = ("webhook", *CHATS)
GIVE_UP_AFTER = MappingProxyType({"webhook": timedelta(days=3)} | dict.fromkeys(CHATS, timedelta(hours=24)))
"""How long a delivery is worth it where `retry.give_up_after` does not say: old news clutters a chat."""

_OURS = frozenset({"content-length", "host", "user-agent"})
_HOP_BY_HOP = frozenset(
    {"connection", "expect", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2: token
_RATE = re.compile(r"(?P<count>[0-9]{1,6}(\.[0-9]{1,6})?)\s*/\s*(?P<unit>s|m|h)")
_FILE = "_file"


class Section(BaseModel):
    """A mapping of the file: what it does not know, it refuses; what is made of it, stays as it is."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True)


def _read_rate(value: object) -> RateLimit:
    if isinstance(value, RateLimit):
        return value
    match = _RATE.fullmatch(read_text(value))
    per_second = float(match["count"]) / {"s": 1, "m": 60, "h": 3600}[match["unit"]] if match else 0
    if not 0 < per_second <= 10_000:
        raise ValueError(f"{shown(value)} must be a rate such as 10/s or 30/m, up to 10000/s")
    return RateLimit(per_second, burst=max(1, int(per_second)))


def _read_header_name(value: object) -> str:
    name = read_text(value).lower()
    sent = name.removesuffix(_FILE)
    if not _HEADER_NAME.fullmatch(sent):
        raise ValueError("a header's name has only letters, digits and !#$%&'*+.^_`|~-")
    if sent in _OURS or sent.startswith("webhook-"):
        raise ValueError(f"{sent} is set by cambwatch itself")
    if sent in _HOP_BY_HOP:
        raise ValueError(f"{sent} belongs to the connection, not to the message")
    return name


def _mark_files(value: object) -> object:
    if not isinstance(value, Mapping):
        return value
    return {name: HeaderFile(inner) if str(name).lower().endswith(_FILE) else inner for name, inner in value.items()}


def _read_extra(value: object) -> Any:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ValueError("must be a mapping, such as {target_language: 54}")  # noqa: TRY004 - pydantic knows ValueError
    return read_json(value)


EventWord = Annotated[str, PlainValidator(choice(("task", "group"))), enum_schema(("task", "group"))]
HeaderName = Annotated[str, PlainValidator(_read_header_name), text_schema()]
_RATE_SCHEMA = WithJsonSchema(
    {"type": ["string", "null"], "pattern": r"^[0-9.]+ */ *(s|m|h)$|\$\{", "examples": ["10/s", "30/m"]}
)
_GROUP_SIZE_SCHEMA = WithJsonSchema({"anyOf": [{"type": ["integer", "null"], "minimum": 1}, VARIABLE]})
_EXTRA_SCHEMA = WithJsonSchema({"type": ["object", "null"]})


class RetrySection(Section):
    """`retry` of a destination."""

    first: Span = Field(timedelta(seconds=5), description="pause after the first failure")
    factor: Annotated[
        float, PlainValidator(number(least=1, most=100)), number_schema("number", minimum=1, maximum=100)
    ] = Field(2.0, description="each further pause is so many times longer")
    max: Span = Field(timedelta(hours=1), description="no pause is longer")
    give_up_after: SpanOrNone = Field(
        None, description="so long it is tried, waiting in line not counted; webhook 3d, chats 24h"
    )


class DestinationEntry(Section):
    """One of `destinations`."""

    type: Annotated[str, PlainValidator(choice(TYPES)), enum_schema(TYPES)] = Field(
        description="what the receiver understands"
    )
    url: UrlInPlace = Field(None, description="secret: where to post")
    url_file: UrlInFile = Field(None, description="file that holds the URL")
    secret: Annotated[tuple[SigningSecret, ...], OneOrMany()] = Field(
        (),
        description="secret: signs each request (Standard Webhooks); with a list it is signed with each, for rotation",
    )
    secret_file: Annotated[tuple[SigningSecretFile, ...], OneOrMany()] = Field(
        (), description="file, or list of files, that hold such secrets"
    )
    headers: Annotated[dict[HeaderName, HeaderValue], BeforeValidator(_mark_files), EmptyAllowed()] = Field(
        default_factory=dict, description="secret: further headers; name_file reads the value from a file"
    )
    template: TemplateInPlace = Field(None, description="Jinja2 (sandboxed): the whole body, for type webhook")
    template_file: TemplateInFile = Field(None, description="file that holds the template")
    timeout: Span = Field(timedelta(seconds=15), description="for one attempt, from dialling to the end of the answer")
    concurrency: Count = Field(4, description="requests at once")
    rate: Annotated[RateLimit | None, PlainValidator(or_none(_read_rate)), _RATE_SCHEMA] = Field(
        None, description="10/s, 30/m; null: what the service of this type allows"
    )
    retry: Annotated[RetrySection, EmptyAllowed()] = Field(
        default_factory=RetrySection, description="when to try again"
    )
    allow_private: Flag = Field(
        False, description="may the URL be plain http, or lead to loopback, private or link-local addresses?"
    )
    digest: SpanOrNone = Field(None, description="events of that time in one message, for chats; null: one each")
    fallback: Annotated[str | None, PlainValidator(or_none(read_text)), NULLABLE_TEXT] = Field(
        None, description="another destination, which hears when this one is down, and when it is back"
    )
    alert_after: Span = Field(timedelta(minutes=15), description="so long it has to be down before that")

    @property
    def target(self) -> Secret:
        """The URL, wherever it was written; checks.py has made sure that there is one."""
        found = self.url or self.url_file
        if found is None:
            raise LookupError("a destination without a URL")
        return found

    @property
    def body_template(self) -> BodyTemplate | None:
        """The template, wherever it was written; None where the body is the notification."""
        return self.template or self.template_file

    def as_core(self, name: str) -> Destination:
        """The destination as the loops know it."""
        retry = self.retry
        return Destination(
            name=name,
            type=self.type,
            url=self.target,
            secrets=self.secret + self.secret_file,
            headers=MappingProxyType({key.removesuffix(_FILE): value for key, value in self.headers.items()}),
            template=self.body_template,
            timeout=self.timeout,
            concurrency=self.concurrency,
            rate=self.rate,
            retry=RetryPolicy(retry.first, retry.factor, retry.max, retry.give_up_after or GIVE_UP_AFTER[self.type]),
            allow_private=self.allow_private,
            alert_after=self.alert_after,
            fallback=self.fallback,
            digest=self.digest,
        )


class When(Section):
    """`when` of a route: what is left out asks nothing, all that is there must hold."""

    event: Annotated[tuple[EventWord, ...], OneOrMany()] = Field(
        (), description="task: one ended; group: one is complete"
    )
    status: Annotated[tuple[TerminalStatus, ...], OneOrMany()] = Field((), description="how the task ended")
    kind: Annotated[tuple[KindName, ...], OneOrMany()] = Field((), description="kind of task")
    account: Annotated[tuple[Name, ...], OneOrMany()] = Field((), description="account of the task")
    group: Annotated[tuple[ShortText, ...], OneOrMany()] = Field((), description="group of the task")
    label: Annotated[dict[Label, LabelValue], EmptyAllowed()] = Field(
        default_factory=dict, description="labels that the task has, with these values"
    )

    def as_core(self) -> Condition:
        """The condition as the routing knows it."""
        return Condition(
            events=frozenset(self.event),
            statuses=frozenset(self.status),
            kinds=frozenset(self.kind),
            accounts=frozenset(self.account),
            groups=frozenset(self.group),
            labels=MappingProxyType(self.label),
        )


class RouteEntry(Section):
    """One of `routes`."""

    when: Annotated[When, EmptyAllowed()] = Field(default_factory=When, description="without it: everything")
    notify: Annotated[tuple[Name, ...], OneOrMany()] = Field(description="names of destinations")

    def as_core(self) -> Route:
        """The route as the routing knows it."""
        return Route(self.when.as_core(), tuple(dict.fromkeys(self.notify)))


class TaskEntry(Section):
    """One of `tasks`."""

    kind: KindName = Field(description="kind of task")
    task_id: TaskId = Field(description="the id that Camb returned")
    name: Annotated[str | None, PlainValidator(or_none(one_line(200))), NULLABLE_TEXT] = Field(
        None, description="what people call it"
    )
    labels: Annotated[dict[Label, LabelValue], EmptyAllowed()] = Field(
        default_factory=dict, max_length=32, description="for routes"
    )
    notify: Annotated[tuple[Name, ...] | None, BeforeValidator(one_or_many)] = Field(
        None, description="destinations; null: the routes decide"
    )
    group: Annotated[str | None, PlainValidator(or_none(one_line(200))), NULLABLE_TEXT] = Field(
        None, description="tasks that belong together"
    )
    group_size: Annotated[int | None, PlainValidator(or_none(whole(1, 1_000_000))), _GROUP_SIZE_SCHEMA] = Field(
        None, description="the group is complete only when so many tasks are known"
    )
    account: Name = Field(DEFAULT_ACCOUNT, description="whose API key asks for it")
    deadline: SpanOrNone = Field(None, description="null: that of its kind, else that of polling")
    extra: Annotated[dict[str, Any], PlainValidator(_read_extra), _EXTRA_SCHEMA] = Field(
        default_factory=dict, description="what the result needs besides run_id"
    )

    @property
    def key(self) -> TaskKey:
        """What names the task."""
        return TaskKey(self.account, self.kind, self.task_id)

    def as_core(self, *, deadline: timedelta) -> Registration:
        """The wish to watch it; *deadline* holds where the task has none of its own."""
        return Registration(
            key=self.key,
            name=self.name,
            labels=MappingProxyType(self.labels),
            notify=None if self.notify is None else tuple(dict.fromkeys(self.notify)),
            group=self.group,
            group_size=self.group_size,
            extra=MappingProxyType(self.extra),
            deadline=self.deadline or deadline,
        )
