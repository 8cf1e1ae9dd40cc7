"""How JSON is written into its columns, and read."""

import json
from typing import Any

_encode = json.JSONEncoder(separators=(",", ":")).encode


def to_json(value: object) -> str:
    """*value* as the columns hold it."""
    return "{}" if value == {} else _encode(value)  # most tasks have no labels and no extra


def from_json(text: str) -> Any:
    """The value that a column holds."""
    return {} if text == "{}" else json.loads(text)
