"""Which requests read the result of a finished run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

from cambwatch.core.camb.kinds import Kind, ResultCall
from cambwatch.core.model import Json


@dataclass(frozen=True, slots=True)
class ResultRequest:
    """A request relative to the base URL of Camb; *target* is percent-encoded, with its query."""

    method: str
    target: str
    body: Mapping[str, Json] = field(default_factory=dict)


def result_requests(
    kind: Kind, run_id: int | None, extra: Mapping[str, Json], *, repeat_alt_format: bool
) -> tuple[ResultRequest, ...]:
    """
    The requests that together give the result; none where it cannot be read.

    That is the case without a run_id, where *extra* lacks a field that the path
    needs or has one that would make another path of it, and where reading means a
    POST, which might start and bill a new conversion, unless *repeat_alt_format*
    allows that.
    """
    requests = (_request(call, run_id, extra) for call in kind.results if call.method == "GET" or repeat_alt_format)
    return tuple(request for request in requests if request is not None)


def _request(call: ResultCall, run_id: int | None, extra: Mapping[str, Json]) -> ResultRequest | None:
    # A POST repeats the call that created the task, so its run_id is the one that the caller gave then.
    values = {"run_id": run_id, **{name: extra.get(name) for name in call.required_fields}}
    if call.method == "POST":
        values["run_id"] = extra.get("run_id")
    if not all(_fits(value) for value in values.values()):
        return None
    path = "/".join(
        quote(str(values[part[1:-1]]), safe="") if part.startswith("{") else part for part in call.path.split("/")
    )
    query = f"?{urlencode(call.query)}" if call.query else ""
    return ResultRequest(call.method, path + query, {name: values[name] for name in call.body_fields})


def _fits(value: Json) -> bool:
    """Whether *value* can stand in a path and leave it the path that it is."""
    match value:
        case bool():
            return False
        case int():
            return 0 <= value < 2**63
        case str():
            return value not in {"", ".", ".."} and value.isprintable()  # also no lone surrogate: it has no encoding
    return False
