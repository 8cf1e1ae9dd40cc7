"""What pydantic found, in our words."""

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from cambwatch.config.errors import Finding, KeyPath, did_you_mean, is_name
from cambwatch.config.readers import LATER
from cambwatch.config.sections import Config
from cambwatch.config.yaml_document import Document, Scalar

_LATER_KEYS = frozenset({("proxy",)})

_COLON = ": a colon that ends a key has a space behind it"


def explain(error: ValidationError, base: KeyPath, model: type[BaseModel], document: Document) -> list[Finding]:
    """The mistakes in *error*, which validating what stands at *base* as *model* brought up."""
    found = []
    for details in error.errors():
        inner: KeyPath = details["loc"]
        at_key = inner[-1:] == ("[key]",) and (*base, *inner) not in document.places
        inner = inner[:-1] if at_key else inner
        if details["type"] == "extra_forbidden":
            found.append(unknown_key((*base, *inner), keys(_model_at(model, inner[:-1]))))
        else:
            found.append(Finding((*base, *inner), _message(details), at_key))
    return found


def unknown_key(path: KeyPath, known: tuple[str, ...]) -> Finding:
    """The mistake of a key at *path* that is none of *known*."""
    key = str(path[-1])
    if (path[0], *path[1:][-1:]) in _LATER_KEYS:
        return Finding(path, f"{LATER}, leave it out", at_key=True)
    if not is_name(key):  # not shown: in {api_key:abc} the key is `api_key:abc`
        hint = _COLON if ":" in key else ""
        return Finding(path, f"unknown key{hint}", at_key=True)
    hint = did_you_mean(key, known)
    elsewhere = [name for name, section in _sections().items() if key in keys(section)]
    if "did you mean" not in hint and elsewhere:
        hint = f" (did you mean {elsewhere[0]}.{key}?)"
    return Finding(path, f"unknown key{hint}", at_key=True)


def keys(model: type[BaseModel]) -> tuple[str, ...]:
    """The keys of *model* as the file writes them."""
    return tuple(field.alias or name for name, field in model.model_fields.items())


def model_of(annotation: Any) -> type[BaseModel] | None:
    """The model in *annotation*: itself, or what a list or mapping of it holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for inner in get_args(annotation) if (model := model_of(inner))), None)


def mapping_needed(value: object) -> str:
    """What to say where *value* stands in place of a mapping."""
    if value is None:
        return "has no value"
    hint = _COLON if isinstance(value, Scalar) and ":" in value.text else ""
    return f"must be a mapping, not {_name_of(value)}{hint}"


def _sections() -> dict[str, type[BaseModel]]:
    return {
        name: field.annotation
        for name, field in Config.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    }


def _model_at(model: type[BaseModel], inner: KeyPath) -> type[BaseModel]:
    """The model that is *inner* below *model*; names of entries and indexes on the way are passed over."""
    for step in inner:
        field = next((field for name, field in model.model_fields.items() if step in {name, field.alias}), None)
        model = (field and model_of(field.annotation)) or model
    return model


def _message(details: ErrorDetails) -> str:
    match details["type"]:
        case "missing":
            return "is missing"
        case "value_error":
            return str(details["ctx"]["error"])
        case "model_type" | "model_attributes_type" | "dict_type":
            return mapping_needed(details["input"])
        case "tuple_type" | "list_type":
            return f"must be a list, not {_name_of(details['input'])}"
        case "too_long":
            return f"has {details['ctx']['actual_length']} entries, {details['ctx']['max_length']} are allowed"
    return details["msg"]


def _name_of(value: object) -> str:
    match value:
        case Mapping():
            return "a mapping"
        case list() | tuple():
            return "a list"
        case Scalar() | str():
            return "a text"
    return "this"
