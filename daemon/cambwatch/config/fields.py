"""The types of the keys: how a value is read, and what the JSON Schema says of it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, PlainValidator, WithJsonSchema
from pydantic_core import CoreSchema, core_schema

from cambwatch.config.readers import (
    NOTIFIED_STATUSES,
    one_line,
    or_none,
    read_bool,
    read_kind,
    read_name,
    read_task_id,
    read_terminal_status,
    span,
    whole,
)
from cambwatch.config.yaml_document import Scalar
from cambwatch.core.camb import kinds
from cambwatch.core.model import Status
from cambwatch.core.names import LONGEST_TASK_ID

JsonSchema = dict[str, Any]

VARIABLE: JsonSchema = {"type": "string", "pattern": r"\$\{"}
"""What may stand for a value of any type: a text with a variable in it."""


@dataclass(frozen=True, slots=True)
class OneOrMany:
    """Marks a tuple for which the file may also give one value without brackets."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(
            lambda value: () if value is None else one_or_many(value), handler(source)
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchema:
        many = handler(schema)
        return {"anyOf": [many["items"], many]}


def one_or_many(value: object) -> object:
    """A value alone as a list of one; nothing at all as it is."""
    if isinstance(value, Scalar | str):
        return (value,)
    if isinstance(value, Mapping):
        raise ValueError("must be a text or a list of texts, not a mapping")  # noqa: TRY004 - pydantic knows ValueError
    return value


@dataclass(frozen=True, slots=True)
class EmptyAllowed:
    """Marks a mapping or list whose key may stand alone, with everything below it commented out: *empty* it is then."""

    empty: type[dict[Any, Any]] | type[tuple[Any, ...]] = dict

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(
            lambda value: self.empty() if value is None else value, handler(source)
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchema:
        return {"anyOf": [handler(schema), {"type": "null"}]}


def text_schema(schema: JsonSchema | None = None) -> WithJsonSchema:
    """The JSON Schema of a text that need not be quoted where it looks like a number."""
    return WithJsonSchema({"type": ["string", "number"]} | (schema or {}))


def enum_schema(known: Collection[str | None]) -> WithJsonSchema:
    """The JSON Schema of one of *known*, of which None is null."""
    return WithJsonSchema({"anyOf": [{"enum": list(known)}, VARIABLE]})


def number_schema(kind: str, **bounds: float) -> WithJsonSchema:
    """The JSON Schema of a number."""
    return WithJsonSchema({"anyOf": [{"type": kind, **bounds}, VARIABLE]})


def _span_schema(*types: str) -> WithJsonSchema:
    return WithJsonSchema(
        {
            "type": list(types) if len(types) > 1 else types[0],
            "pattern": r"^\s*([0-9]+(\.[0-9]+)?\s*(ms|s|m|h|d)\s*)+$|\$\{",
            "description": "a duration: number and unit, ms s m h d, or a sum of such",
            "examples": ["500ms", "30s", "5m", "12h", "7d", "1h30m"],
        }
    )


NULLABLE_TEXT = WithJsonSchema({"type": ["string", "number", "null"], "maxLength": 200})
_KIND_WORDS = [word for kind in kinds.KINDS.values() for word in (kind.name, *kind.aliases)]

Span = Annotated[timedelta, PlainValidator(span()), _span_schema("string")]
SpanOrZero = Annotated[timedelta, PlainValidator(span(zero=True)), _span_schema("string")]
SpanOrNone = Annotated[timedelta | None, PlainValidator(or_none(span())), _span_schema("string", "null")]
Count = Annotated[int, PlainValidator(whole(1, 10_000)), number_schema("integer", minimum=1, maximum=10_000)]
Flag = Annotated[bool, PlainValidator(read_bool), WithJsonSchema({"anyOf": [{"type": "boolean"}, VARIABLE]})]
Name = Annotated[str, PlainValidator(read_name), text_schema({"pattern": r"^[A-Za-z0-9_.-]{1,64}$|\$\{"})]
KindName = Annotated[str, PlainValidator(read_kind), enum_schema(_KIND_WORDS)]
TerminalStatus = Annotated[Status, PlainValidator(read_terminal_status), enum_schema(NOTIFIED_STATUSES)]
TaskId = Annotated[str, PlainValidator(read_task_id), text_schema({"minLength": 1, "maxLength": LONGEST_TASK_ID})]
Label = Annotated[str, PlainValidator(one_line(64)), text_schema({"minLength": 1, "maxLength": 64})]
LabelValue = Annotated[str, PlainValidator(one_line(256, empty=True)), text_schema({"maxLength": 256})]
ShortText = Annotated[str, PlainValidator(one_line(200)), text_schema({"minLength": 1, "maxLength": 200})]
