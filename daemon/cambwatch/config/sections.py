"""The configuration as the file has it, and as the rest of the program asks for it."""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Annotated
from urllib.parse import unquote, urlsplit

from pydantic import Field, PlainSerializer, PlainValidator, ValidationInfo, WithJsonSchema, field_validator

from cambwatch.config.entries import DestinationEntry, RouteEntry, Section, TaskEntry
from cambwatch.config.fields import (
    Count,
    EmptyAllowed,
    Flag,
    KindName,
    Name,
    OneOrMany,
    Span,
    SpanOrNone,
    SpanOrZero,
    enum_schema,
    number_schema,
    text_schema,
)
from cambwatch.config.readers import choice, number, or_none, span, whole
from cambwatch.config.secrets import (
    ProxyInFile,
    ProxyInPlace,
    ReadContext,
    StoreUrl,
    StoreUrlInFile,
    TokenInFile,
    TokenInPlace,
)
from cambwatch.config.urls import (
    DEFAULT_LISTEN,
    Listen,
    read_allowed_host,
    read_base_url,
    read_listen,
)
from cambwatch.core.accounts import DEFAULT_ACCOUNT, Account
from cambwatch.core.cadence.estimate import Strategy
from cambwatch.core.cadence.policy import PollPolicy
from cambwatch.core.model import Registration
from cambwatch.core.postgres_url import secrets_in
from cambwatch.core.redaction import Secret
from cambwatch.core.routing import Destination, Route
from cambwatch.core.service_urls import credentials

_SQLITE = "sqlite:///"
_LEVELS = ("debug", "info", "warning", "error")
_LOG_FORMATS = ("auto", "console", "json")
_STRATEGIES = tuple(strategy.value for strategy in Strategy)
_per_second = number(above=0, most=10_000)

BaseUrl = Annotated[str, PlainValidator(read_base_url), WithJsonSchema({"type": "string"})]
PerSecond = Annotated[float, PlainValidator(_per_second), number_schema("number", exclusiveMinimum=0, maximum=10_000)]
ListenText = Annotated[
    Listen,
    PlainValidator(read_listen),
    PlainSerializer(str),
    text_schema({"examples": ["127.0.0.1:8787", "unix:/run/a.sock"]}),
]
AllowedHost = Annotated[str, PlainValidator(read_allowed_host), WithJsonSchema({"type": "string"})]


class AccountEntry(Section):
    """One of `camb.accounts`; what it leaves out is as under `camb`."""

    api_key: TokenInPlace = Field(None, description="secret: the API key")
    api_key_file: TokenInFile = Field(None, description="file that holds the API key")
    base_url: Annotated[
        str | None, PlainValidator(or_none(read_base_url)), WithJsonSchema({"type": ["string", "null"]})
    ] = Field(None, description="null: camb.base_url")
    requests_per_second: Annotated[
        float | None, PlainValidator(or_none(_per_second)), WithJsonSchema({"type": ["number", "null", "string"]})
    ] = Field(None, description="null: camb.requests_per_second")
    concurrency: Annotated[
        int | None, PlainValidator(or_none(whole(1, 10_000))), WithJsonSchema({"type": ["integer", "null", "string"]})
    ] = Field(None, description="null: camb.concurrency")
    timeout: SpanOrNone = Field(None, description="null: camb.timeout")


class CambSection(Section):
    """`camb`: what we ask."""

    base_url: BaseUrl = Field("https://client.camb.ai/apis", description="what stands before Camb's paths")
    api_key: TokenInPlace = Field(None, description="secret: the API key of the account `default`")
    api_key_file: TokenInFile = Field(None, description="file that holds the API key")
    requests_per_second: PerSecond = Field(20.0, description="budget per account, polls and result fetches together")
    concurrency: Count = Field(64, description="requests at once, per account")
    timeout: Span = Field(timedelta(seconds=30), description="for one request")
    accounts: Annotated[dict[Name, AccountEntry], EmptyAllowed()] = Field(
        default_factory=dict, description="further API keys by name"
    )


class KindPollingSection(Section):
    """One of `polling.kinds`; what it leaves out is as under `polling`."""

    strategy: Annotated[str | None, PlainValidator(or_none(choice(_STRATEGIES))), enum_schema((*_STRATEGIES, None))] = (
        Field(None, description="null: polling.strategy")
    )
    interval: SpanOrNone = Field(None, description="null: polling.interval")
    deadline: SpanOrNone = Field(None, description="null: polling.deadline")
    not_found_grace: Annotated[
        timedelta | None, PlainValidator(or_none(span(zero=True))), WithJsonSchema({"type": ["string", "null"]})
    ] = Field(None, description="null: polling.not_found_grace")


class PollingSection(Section):
    """`polling`: when we ask."""

    strategy: Annotated[str, PlainValidator(choice(_STRATEGIES)), enum_schema(_STRATEGIES)] = Field(
        Strategy.LEARNED.value,
        description="fixed: every `interval`; learned: when an end is likely, once it is known how long tasks take",
    )
    interval: Span = Field(
        timedelta(seconds=5),
        description="between two polls of a task; learned: ends are noticed as soon as with it, on average",
    )
    min_interval: Span = Field(timedelta(seconds=1), description="no pause is shorter")
    max_interval: Span = Field(timedelta(minutes=2), description="no pause is longer, nor one after trouble")
    deadline: Span = Field(timedelta(hours=24), description="after this a last poll, then EXPIRED")
    not_found_grace: SpanOrZero = Field(
        timedelta(minutes=2),
        description="NOT_FOUND after 404 for this long, if Camb never returned a status for the task",
    )
    kinds: Annotated[dict[KindName, KindPollingSection], EmptyAllowed()] = Field(
        default_factory=dict, description="what is otherwise for some kinds"
    )


class ResultsSection(Section):
    """`results`: what happens after SUCCESS."""

    fetch: Flag = Field(True, description="put the result (URLs) into the notification")
    repeat_alt_format: Flag = Field(
        False, description="fetch the result of dub-alt-format by repeating its POST, which might be billed"
    )


class StoreSection(Section):
    """`store`: where tasks and deliveries are kept."""

    url: StoreUrl = Field(
        "sqlite:///cambwatch.db",
        description="a file, relative: inside $STATE_DIRECTORY, where there is one; or postgresql://user:password@host/db",
        validate_default=True,
        repr=False,  # it may hold a password
    )
    url_file: StoreUrlInFile = Field(None, description="file that holds the URL")
    lease: Span = Field(
        timedelta(seconds=30), description="PostgreSQL: so long after a node has died others take over what it held"
    )
    keep_finished: SpanOrNone = Field(
        timedelta(days=30), description="so long after its end a task is kept, with its deliveries; null: for ever"
    )

    @field_validator("url", mode="after")
    @classmethod
    def _inside_state_directory(cls, url: str, info: ValidationInfo) -> str:
        path = url.removeprefix(_SQLITE)
        if path == url or not isinstance(info.context, ReadContext) or not info.context.state_directory:
            return url
        # An absolute path stays what it is.
        return f"{_SQLITE}{info.context.state_directory / path}"

    @field_validator("lease", mode="after")
    @classmethod
    def _check_lease(cls, lease: timedelta) -> timedelta:
        if not timedelta(seconds=2) <= lease <= timedelta(minutes=10):
            raise ValueError("must be from 2s to 10m: a shorter one ends by chance, a longer one keeps others waiting")
        return lease

    @property
    def where(self) -> str:
        """The URL, wherever it was written."""
        return self.url_file.reveal() if self.url_file else self.url

    @property
    def path(self) -> Path | None:
        """The SQLite file; None where the database is a PostgreSQL server's."""
        path = self.where.removeprefix(_SQLITE)
        return None if path == self.where else Path(path)


class HttpSection(Section):
    """`http`: who may ask us."""

    listen: ListenText = Field(DEFAULT_LISTEN, description="host:port or unix:/path")
    token: TokenInPlace = Field(None, description="secret: needed as soon as listen is neither loopback nor unix")
    token_file: TokenInFile = Field(None, description="file that holds the token")
    allowed_hosts: Annotated[tuple[AllowedHost, ...], OneOrMany()] = Field(
        (), description="names by which we are called, besides localhost, 127.0.0.1, [::1]"
    )

    requests_per_second: Annotated[
        float | None, PlainValidator(or_none(_per_second)), WithJsonSchema({"type": ["number", "null", "string"]})
    ] = Field(None, description="of each client address; null: 200 for other machines, no limit for this one")

    @property
    def bearer(self) -> Secret | None:
        """The token, wherever it was written; None if callers need none."""
        return self.token or self.token_file


class LogSection(Section):
    """`log`: what is written to standard error."""

    level: Annotated[str, PlainValidator(choice(_LEVELS)), enum_schema(_LEVELS)] = Field(
        "info", description="from this level on"
    )
    format: Annotated[str, PlainValidator(choice(_LOG_FORMATS)), enum_schema(_LOG_FORMATS)] = Field(
        "auto", description="auto: console on a terminal, JSON lines otherwise"
    )


class Config(Section):
    """
    A configuration that holds together.

    The sections are as in the file, with their defaults; the properties give the
    same as the rest of the program knows it.
    """

    camb: Annotated[CambSection, EmptyAllowed()] = Field(default_factory=CambSection, description="what we ask")
    polling: Annotated[PollingSection, EmptyAllowed()] = Field(
        default_factory=PollingSection, description="when we ask"
    )
    results: Annotated[ResultsSection, EmptyAllowed()] = Field(
        default_factory=ResultsSection, description="what happens after SUCCESS"
    )
    store: Annotated[StoreSection, EmptyAllowed()] = Field(
        default_factory=StoreSection, description="where tasks are kept"
    )
    http: Annotated[HttpSection, EmptyAllowed()] = Field(default_factory=HttpSection, description="who may ask us")
    egress_proxy: ProxyInPlace = Field(
        None, description="secret: http://host:port or http://user:password@host:port, the way to destinations"
    )
    egress_proxy_file: ProxyInFile = Field(None, description="file that holds the URL of the egress proxy")
    destination_entries: Annotated[dict[Name, DestinationEntry], EmptyAllowed()] = Field(
        default_factory=dict, alias="destinations", description="who can be told, by name"
    )
    route_entries: Annotated[tuple[RouteEntry, ...], EmptyAllowed(tuple)] = Field(
        (), alias="routes", description="who hears of what; without routes all destinations hear everything"
    )
    task_entries: Annotated[tuple[TaskEntry, ...], EmptyAllowed(tuple)] = Field(
        (), alias="tasks", description="watched from the start"
    )
    log: Annotated[LogSection, EmptyAllowed()] = Field(
        default_factory=LogSection, description="what is written to standard error"
    )

    @cached_property
    def accounts(self) -> Mapping[str, Account]:
        """Every account by its name; `default` is there if, and only if, `camb` itself has a key."""
        camb = self.camb
        entries = {DEFAULT_ACCOUNT: AccountEntry(api_key=camb.api_key or camb.api_key_file), **camb.accounts}
        return MappingProxyType(
            {
                name: Account(
                    name=name,
                    api_key=key,
                    base_url=entry.base_url or camb.base_url,
                    requests_per_second=entry.requests_per_second or camb.requests_per_second,
                    concurrency=entry.concurrency or camb.concurrency,
                    timeout=entry.timeout or camb.timeout,
                )
                for name, entry in entries.items()
                if (key := entry.api_key or entry.api_key_file)
            }
        )

    @cached_property
    def destinations(self) -> Mapping[str, Destination]:
        """Every destination by its name, in the order of the file."""
        return MappingProxyType({name: entry.as_core(name) for name, entry in self.destination_entries.items()})

    @cached_property
    def routes(self) -> tuple[Route, ...]:
        """The routes of the file; none means that every destination hears everything."""
        return tuple(entry.as_core() for entry in self.route_entries)

    @cached_property
    def registrations(self) -> tuple[Registration, ...]:
        """The tasks of the file, each with the deadline that holds for it."""
        return tuple(task.as_core(deadline=self.poll_policy(task.kind).deadline) for task in self.task_entries)

    @property
    def proxy(self) -> Secret | None:
        """The egress proxy, wherever it was written; None: destinations are dialled directly."""
        return self.egress_proxy or self.egress_proxy_file

    def poll_policy(self, kind: str) -> PollPolicy:
        """How tasks of *kind*, a name of kinds.KINDS, are asked for."""
        polling = self.polling
        own = polling.kinds.get(kind, KindPollingSection())
        grace = polling.not_found_grace if own.not_found_grace is None else own.not_found_grace
        return PollPolicy(
            interval=own.interval or polling.interval,
            min_interval=polling.min_interval,
            max_interval=polling.max_interval,
            deadline=own.deadline or polling.deadline,
            not_found_grace=grace,
            strategy=Strategy(own.strategy or polling.strategy),
        )

    def credentials(self) -> list[Secret]:
        """What lets somebody act for us; the URL of a plain webhook need not."""
        found = [account.api_key for account in self.accounts.values()]
        for destination in self.destinations.values():
            found += destination.secrets
            found += [value for name, value in destination.headers.items() if name == "authorization"]
            found += [] if destination.type == "webhook" else [destination.url]
        found += [self.proxy] if self.proxy and proxy_parts(self.proxy) else []
        return found + ([self.http.bearer] if self.http.bearer else [])

    def secrets(self) -> tuple[Secret, ...]:
        """Every text that must never be shown, also as part of another."""
        found = [account.api_key for account in self.accounts.values()]
        if bearer := self.http.bearer:
            found.append(bearer)
        if self.store.path is None:
            found += map(Secret, secrets_in(self.store.where))
        if proxy := self.proxy:
            found += [proxy, *proxy_parts(proxy)]
        for destination in self.destinations.values():
            found += [destination.url, *destination.secrets]
            found += [value for name, value in destination.headers.items() if name != "content-type"]
            found += credential_parts(destination.headers.get("authorization"))
            found += secret_parts(destination)
        return tuple(dict.fromkeys(found))


def proxy_parts(proxy: Secret) -> list[Secret]:
    """What of the URL of a proxy is the credential by itself: the password, and both names as a header has them."""
    parts = urlsplit(proxy.reveal())
    if not parts.password:
        return []
    user, password = unquote(parts.username or ""), unquote(parts.password)
    encoded = b64encode(f"{user}:{password}".encode()).decode()
    return [Secret(part) for part in dict.fromkeys((parts.password, password, encoded))]


def credential_parts(authorization: Secret | None) -> list[Secret]:
    """What of `Bearer token` is the credential by itself; of Basic also user and password, and the password alone."""
    scheme, _, credentials = (authorization.reveal() if authorization else "").strip().partition(" ")
    found = [credentials.strip()]
    if scheme.lower() == "basic":
        with suppress(ValueError):  # not Base64, or not UTF-8: then there is nothing in it to be shown
            found.append(b64decode(found[0]).decode())
            found.append(found[-1].partition(":")[2])
    return [Secret(part) for part in found if part]


def secret_parts(destination: Destination) -> list[Secret]:
    """What of a URL is the credential by itself: the query, and for chat services the path; of Apprise's nearly all."""
    if destination.type == "apprise":
        return [Secret(part) for part in credentials(destination.url.reveal())]
    parts = urlsplit(destination.url.reveal())
    path = [] if destination.type == "webhook" else [parts.path.lstrip("/")]
    return [Secret(part) for part in (*path, parts.query) if part]
