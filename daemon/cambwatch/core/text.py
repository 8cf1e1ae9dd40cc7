"""What others wrote, as text that a line of a message, a log or a table can hold."""

import json

from cambwatch.core.model import Json

LONGEST_TEXT = 2000  # characters


def one_line(value: Json) -> str | None:
    """*value* as one line of at most LONGEST_TEXT characters; objects by their own words, else as JSON."""
    match value:
        case None:
            return None
        case str():
            words = value
        case {"message": str(inner)} | {"msg": str(inner)} | {"detail": str(inner)} | {"error": str(inner)}:
            words = inner
        case _:
            try:
                words = json.dumps(value, ensure_ascii=False)
            except RecursionError:  # what could just be read may be too deep to be written
                return None
    # Lone surrogates can come out of JSON escapes but go into no database and no UTF-8.
    known = words.encode("utf-8", "replace").decode("utf-8")
    line = " ".join("".join(c for c in known if c.isprintable() or c.isspace()).split())
    if not line:
        return None
    return line if len(line) <= LONGEST_TEXT else line[: LONGEST_TEXT - 1] + "…"
