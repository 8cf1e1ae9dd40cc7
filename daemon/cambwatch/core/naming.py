"""What a name may be, wherever it comes in."""

import re

LONGEST_TASK_ID = 200  # characters

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]")  # lone surrogates too: they have no encoding


def check_task_id(text: str) -> str:
    """
    *text* itself, if it can be a task_id; raises ValueError with what is wrong.

    Camb's are UUIDs, but that is promised nowhere: any text goes that keeps its
    meaning inside a URL's path once it is percent-encoded.
    """
    if not text:
        raise ValueError("is empty: give the task_id that Camb answered with")
    if len(text) > LONGEST_TASK_ID:
        raise ValueError(f"is {len(text)} characters long, {LONGEST_TASK_ID} are allowed")
    if _CONTROL.search(text):
        raise ValueError("holds control characters")
    if text in {".", ".."}:
        raise ValueError("cannot be asked for: it would name another path")
    return text


def check_name(text: str) -> str:
    """*text* itself, if it can name an account or a destination; raises ValueError with what is allowed."""
    if not _NAME.fullmatch(text):
        raise ValueError("is no name: 1 to 64 letters, digits, `_`, `.` or `-`")
    return text
