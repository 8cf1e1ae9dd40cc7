"""Parses JSON with invalid bytes: one bad byte in a message must not hide the status beside it."""

import json

from cambwatch.core.model import Json


def loads(body: bytes) -> Json:
    """
    The JSON document in *body*; bytes that are not UTF-8 become U+FFFD.

    UTF-16 and UTF-32 are read too, with or without a byte order mark (RFC 4627, section 3).
    Raises ValueError for everything else, including documents that are nested too deeply.
    """
    try:
        return json.loads(body)
    except UnicodeDecodeError:
        pass
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    try:
        return json.loads(body.decode("utf-8-sig", "replace"))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
