"""The configuration as a JSON Schema (2020-12), for editors that complete and check while one types."""

from datetime import timedelta
from typing import Any

from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import CoreSchema, core_schema

from cambwatch.config.readers import write_span
from cambwatch.config.sections import Config
from cambwatch.config.urls import TcpListen, UnixListen


def schema() -> dict[str, Any]:
    """The JSON Schema of the file; what must fit together (routes and destinations, ...) is beyond it."""
    document = Config.model_json_schema(schema_generator=_Generator)
    return {"$schema": _Generator.schema_dialect} | document | {"title": "Configuration of cambwatch"}


class _Generator(GenerateJsonSchema):
    def encode_default(self, dft: Any) -> Any:
        match dft:
            case timedelta():
                return write_span(dft)
            case TcpListen() | UnixListen():
                return str(dft)
        return super().encode_default(dft)

    def dict_schema(self, schema: core_schema.DictSchema) -> dict[str, Any]:
        """A mapping whose names have a pattern takes no other names."""
        made = super().dict_schema(schema)
        return made | {"additionalProperties": False} if "patternProperties" in made else made

    def field_title_should_be_set(self, _schema: CoreSchema) -> bool:
        return False
