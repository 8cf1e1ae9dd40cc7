"""
Templates of webhook bodies: written in place or in a file, and tried before any event needs them.

A template is rendered for every status that anybody is told of, each with all that an
event can hold and with next to nothing, and for a group. What can be missing is missing in
one of these, and what needs escaping stands in another.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import PlainValidator, ValidationInfo, WithJsonSchema

from cambwatch.config.errors import not_utf8
from cambwatch.config.readers import NOTIFIED_STATUSES, read_text
from cambwatch.config.secrets import ReadContext
from cambwatch.config.yaml_document import Scalar
from cambwatch.core.event_json import notification_body
from cambwatch.core.events import DestinationAlert, Event, GroupComplete, Link, TaskEnded
from cambwatch.core.model import Outcome, Status
from cambwatch.core.redaction import Secret
from cambwatch.core.templates import LONGEST_SOURCE, BodyTemplate, TemplateError

_START = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
_END = _START + timedelta(seconds=41.2)
_AWKWARD = 'A "quoted" \\ name & more'
_HIDDEN_ERROR = "cannot be rendered: it holds a variable, so what is wrong is not shown"


def read_template(value: object) -> BodyTemplate | None:
    """The template that is written there; raises ValueError with the line that is wrong."""
    if value is None or isinstance(value, BodyTemplate):
        return value
    # What a variable holds may be a token, and Jinja's messages quote the template.
    return _compiled(read_text(value), shown=not isinstance(value, Scalar) or value.text == value.written)


def _read_template_file(value: object, info: ValidationInfo) -> BodyTemplate | None:
    if value is None or isinstance(value, BodyTemplate):
        return value
    if info.data.get("template"):
        raise ValueError("give template or template_file, not both")
    if not isinstance(info.context, ReadContext):
        raise ValueError("is only read together with the file that names it")  # noqa: TRY004 - pydantic knows ValueError
    try:
        with (info.context.folder / read_text(value)).open("rb") as file:
            raw = file.read(4 * LONGEST_SOURCE + 1)
    except OSError as error:
        raise ValueError(f"the file cannot be read: {error.strerror}") from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"the file is {not_utf8(raw)}") from None
    return _compiled(text, shown=True)


def _compiled(source: str, *, shown: bool) -> BodyTemplate:
    if not source.strip():
        raise ValueError("is empty")
    try:
        template = BodyTemplate(source)
        for name, event in samples():
            try:
                render(template, event)
            except TemplateError as error:
                raise TemplateError(f"{error.words} (in {name})", error.line) from None
    except TemplateError as error:
        raise ValueError(str(error if shown else TemplateError(_HIDDEN_ERROR, error.line))) from None
    return template


def render(template: BodyTemplate, event: Event) -> bytes:
    """What *template* makes of *event*; raises TemplateError."""
    return template.render({**notification_body(event), "id": "msg_00000000000000000000000000000000"})


def why_not_json(template: BodyTemplate, events: Iterable[tuple[str, Event]] | None = None) -> str | None:
    """What to say where *template*, which renders, makes something else than JSON; None where it makes JSON."""
    for name, event in samples() if events is None else events:
        try:
            json.loads(render(template, event), parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            where = f" in line {error.lineno} of the body" if isinstance(error, json.JSONDecodeError) else ""
            return (
                f"makes no JSON of {name}{where}: put each value through the filter tojson, without quotes around it; "
                "for another kind of body name its content-type under headers"
            )
    return None


def why_no_alert(template: BodyTemplate, *, in_json: bool) -> str | None:
    """What to say where *template* cannot tell that another destination is down, or back; None where it can."""
    for name, event in alerts():
        try:
            render(template, event)
        except TemplateError as error:  # without its words, which may quote a token out of a variable
            where = "" if error.line is None else f"line {error.line} of the template "
            return f"{where}fails on {name}, whose data has destination, summary, since, waiting and last_outcome"
    return why_not_json(template, alerts()) if in_json else None


def _refuse(word: str) -> None:
    raise ValueError(word)


def is_json(headers: Mapping[str, Secret]) -> bool:
    """Whether a body sent with *headers*, names in lower case, says that it is JSON."""
    given = next((value for name, value in headers.items() if name.removesuffix("_file") == "content-type"), None)
    media_type = "application/json" if given is None else given.reveal().partition(";")[0].strip().lower()
    return media_type == "application/json" or media_type.endswith("+json")


def samples() -> Iterator[tuple[str, Event]]:
    """Events to try a template with, and what each is."""
    for word in NOTIFIED_STATUSES:
        status = Status(word)
        yield f"a full {_full(status).type}", _full(status)
        yield f"a bare {_bare(status).type}", _bare(status)
    yield (
        "camb.group.complete, which has data of its own",
        GroupComplete(_AWKWARD, {"SUCCESS": 11, "ERROR": 1}, 12, _START, _END),
    )


def alerts() -> Iterator[tuple[str, Event]]:
    """What a fallback hears, and what each is."""
    for recovered in (False, True):
        alert = DestinationAlert(
            _AWKWARD, _START, _END, recovered=recovered, waiting=3, outcome=Outcome.TRANSIENT, http_status=None
        )
        yield alert.type, alert


def _full(status: Status) -> TaskEnded:
    url = "https://example.com/a.flac?x=1&y=2"
    success = status is Status.SUCCESS
    return TaskEnded(
        account="default",
        kind="dub",
        task_id="6a1f0c9e-3b52-4d0c-9b1e-2f6f1f3a7c55",
        registrations=1,
        status=status,
        registered_at=_START,
        finished_at=_END,
        name=_AWKWARD,
        labels={"show": _AWKWARD},
        group=_AWKWARD,
        run_id=123,
        exception_reason=None if success else "SOURCE_TOO_LONG",
        message=None if success else _AWKWARD,
        polls=9,
        result_endpoint="https://client.camb.ai/apis/dub-result/123",
        result={"output_url": url} if success else None,
        links=(Link(_AWKWARD, url),) if success else (),
    )


def _bare(status: Status) -> TaskEnded:
    return TaskEnded("default", "dub", "6a1f0c9e", 1, status, _START, _END)


TemplateInPlace = Annotated[
    BodyTemplate | None,
    PlainValidator(read_template),
    WithJsonSchema({"type": ["string", "null"], "examples": ['{"text": {{ data.summary | tojson }}}']}),
]
TemplateInFile = Annotated[
    BodyTemplate | None,
    PlainValidator(_read_template_file),
    WithJsonSchema({"type": ["string", "null"], "examples": ["templates/pipeline.json.j2"]}),
]
