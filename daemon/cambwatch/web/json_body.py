"""JSON as the intake takes it: nothing that two programs could read differently, or that cannot be written again."""

import json
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Iterator
from http import HTTPStatus
from math import isfinite
from typing import Any
from urllib.parse import quote

from pydantic_core import from_json

from cambwatch.core.model import Json
from cambwatch.web.problem_details import Mistake, ProblemError, unprocessable


def read_json(body: bytes) -> Json:
    """
    The document in *body*: UTF-8, no lone surrogates, at most 200 levels deep, no number that becomes infinite.

    Ignores a byte order mark at the start, as RFC 8259, 8.1 allows: some editors and .NET
    write one. Raises ProblemError; where a name stands twice in an object, and the RFC leaves
    open which of them counts, with a pointer to it.
    """
    body = body.removeprefix(BOM_UTF8)
    try:
        if not (encoding := json.detect_encoding(body)).startswith("utf-8"):
            raise ValueError(f"it is encoded as {encoding.upper()}; send it as UTF-8")  # noqa: TRY301 - as the others
        document = from_json(body, allow_inf_nan=False)
        duplicates: list[_DuplicateKeys] = []
        # The first reader is the stricter one, only the second one is told of every member.
        again = json.loads(body, object_pairs_hook=lambda members: _object(members, duplicates), parse_float=_finite)
    except ValueError as error:
        detail = f"is not JSON: {error}"
        raise ProblemError(
            HTTPStatus.BAD_REQUEST, f"the body {detail}", errors=[Mistake(pointer="#", detail=detail)]
        ) from None
    if duplicates:
        raise unprocessable([Mistake(pointer=at, detail="stands here more than once") for at in _pointers(again, "#")])
    return document


def escape_pointer_step(step: str) -> str:
    """A step of a JSON pointer in a URI fragment (RFC 6901, 6), cut to a length that is still of use."""
    return quote(step[:200].replace("~", "~0").replace("/", "~1"), safe="~!$&'()*+,;=:@")


class _DuplicateKeys(dict[str, Any]):
    """An object that has *duplicate_key* more than once."""

    duplicate_key: str


def _object(members: list[tuple[str, Any]], duplicates: list[_DuplicateKeys]) -> dict[str, Any]:
    read = dict(members)
    if len(read) == len(members):
        return read
    counts = Counter(name for name, _ in members)
    marked = _DuplicateKeys(read)
    marked.duplicate_key = counts.most_common(1)[0][0]
    duplicates.append(marked)
    return marked


def _finite(digits: str) -> float:
    number = float(digits)
    if not isfinite(number):
        raise ValueError(f"{digits[:40]} is out of range")
    return number


def _pointers(value: Any, at: str) -> Iterator[str]:
    match value:
        case dict():
            if isinstance(value, _DuplicateKeys):
                yield f"{at}/{escape_pointer_step(value.duplicate_key)}"
            inner = ((escape_pointer_step(name), one) for name, one in value.items())
        case list():
            inner = ((str(index), one) for index, one in enumerate(value))
        case _:
            return
    for step, one in inner:
        yield from _pointers(one, f"{at}/{step}")
