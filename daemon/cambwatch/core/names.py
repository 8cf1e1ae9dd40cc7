"""What a name may be, wherever it comes in."""

import re

from cambwatch.core.placeholders import find_value_mistake

LONGEST_TASK_ID = 200  # characters

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]")  # lone surrogates too: they have no encoding
_GIVE_ONE = "give the task_id that Camb returned, such as c8b8e3cd-ad17-4458-83ad-349432da117b"


def check_task_id(text: str) -> str:
    """
    *text* itself, if a task can be registered with it; raises ValueError with what is wrong and what to send.

    Camb's ids are UUIDs, but no documentation promises that. So any text passes that keeps its
    meaning when percent-encoded in a URL's path, and that is not clearly a mistake.
    """
    if hint := explain_bad_task_id(text):
        raise ValueError(hint)
    return check_known_task_id(text)


def explain_bad_task_id(text: str) -> str | None:
    """Why *text* is clearly not a task_id, and what to do; None if it may be one."""
    why = find_value_mistake(text) if len(text) <= LONGEST_TASK_ID else None
    if why is None:
        return None
    return f"{why}: {'remove it' if why.removable else _GIVE_ONE}"


def check_known_task_id(text: str) -> str:
    """
    *text* itself, if a stored task may have this id; raises ValueError with what is wrong.

    For lookups: an older version accepted ids that check_task_id refuses.
    """
    if not text:
        raise ValueError("is empty: give the task_id that Camb returned")
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
