"""Which names and task_ids are valid, and which values are obviously placeholders or mistakes."""

import re
from collections.abc import Callable
from enum import StrEnum

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


class ValueMistake(StrEnum):
    """Why a text is not a usable value; the words follow the name of the setting."""

    ANSWER = "is a whole response, an assignment or a printed object"
    HEADER = "is a whole header"
    URL = "is a URL"
    TEMPLATE = "is a template that was not filled in"
    NOTHING = "is what a program prints for a missing value"
    EXAMPLE = "is a placeholder from an example"
    CUT = "ends in dots, so it is truncated"
    BLANKS_AROUND = "starts or ends with white space or an invisible character"
    QUOTES = "starts or ends with a quote"
    BRACKETS = "is in brackets"
    ESCAPED = "contains an escape sequence or an HTML entity"
    BLANKS = "contains white space or an invisible character"

    @property
    def removable(self) -> bool:
        """Whether removing some characters leaves the intended value."""
        return self in _REMOVABLE


_REMOVABLE = frozenset({ValueMistake.BLANKS_AROUND, ValueMistake.QUOTES, ValueMistake.BRACKETS, ValueMistake.BLANKS})


def _characters(*ranges: tuple[int, int]) -> str:
    return "".join(chr(code) for first, last in ranges for code in range(first, last + 1))


# Unicode white space, characters that look like it (Hangul fillers, blank Braille), and characters without width.
_BLANKS = _characters(
    *((0x09, 0x0D), (0x1C, 0x20), (0x85, 0x85), (0xA0, 0xA0), (0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C)),
    *((0x115F, 0x1160), (0x1680, 0x1680), (0x17B4, 0x17B5), (0x180E, 0x180E), (0x2000, 0x200B), (0x200E, 0x200F)),
    *((0x2028, 0x202F), (0x205F, 0x206F), (0x2800, 0x2800), (0x3000, 0x3000), (0x3164, 0x3164), (0xFEFF, 0xFEFF)),
    *((0xFFA0, 0xFFA0), (0xE0000, 0xE007F)),
)
_BLANK_CHARACTERS = frozenset(_BLANKS)
_AROUND = _BLANKS + "\u200c\u200d"  # joiners belong inside Persian words and emoji: wrong only at an end
_NON_PRINTING = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_QUOTES = "\"'`\u00b4\u00ab\u00bb\u2018-\u201f\u2032-\u2037\u2039\u203a\u300c-\u300f\u301d-\u301f\uff02\uff07"

_NULL = r"(?:null|undefined|undef|none|nil|nan|nat|nothing|nullptr|dbnull|void|true|false|n/?a)"
_NIL_UUID = r"0{8}-0{4}-0{4}-0{4}-0{12}"  # RFC 9562, 5.9

# Words that placeholders consist of: task_id, YOUR-TASK-ID, yourApiKey, <key>, string.
_QUALIFIERS = (
    "insert|enter|put|paste|add|replace|with|your|my|our|the|some|this|actual|real|example|sample|dummy|camb|ai"
    "|task|job|run|api|access|auth|authorization|bearer|http|webhook|slack|discord|signing"
)
_NOUNS = "id|uuid|guid|key|token|secret|password|string|value|placeholder"
_EXAMPLE = rf"[\W_]*+(?:(?:{_QUALIFIERS})[\W_]*+)*(?:{_NOUNS})[\W_]*+(?:(?:here|goes|from|camb|ai)[\W_]*+)*"


def _has_blanks_around(text: str) -> bool:
    return text != text.strip(_AROUND)


def _has_blanks_inside(text: str) -> bool:
    # explain_bad_task_id() reports control characters.
    return not _BLANK_CHARACTERS.isdisjoint(text) and _NON_PRINTING.search(text) is None


def _is(pattern: str) -> Callable[[str], object]:
    """A predicate: the whole text matches."""
    return re.compile(pattern, re.IGNORECASE | re.DOTALL).fullmatch


def _has(pattern: str) -> Callable[[str], object]:
    """A predicate: a part of the text matches."""
    return re.compile(pattern, re.IGNORECASE | re.DOTALL).search


_WHOLE = (
    # <c8b8e3cd-…>, [c8b8e3cd-…]
    (ValueMistake.BRACKETS, _is(r"[<\[{(]+[0-9a-f-]{16,}[>\]})]+")),
    # {"task_id": "…"}, [object Object], UUID('…'), Optional("…")
    (ValueMistake.ANSWER, _is(r"\{(?=.*[:\"']).*\}|\[object \w+\]|[a-z_][\w.]*\(.*\)")),
    # Bearer …, x-api-key: …
    (ValueMistake.HEADER, _is(r"(?:bearer|basic)(?:[\s:=]|%20).*|(?:(?:proxy-)?authorization|x-api-key)\s*:.*")),
    (ValueMistake.URL, _is(r"[a-z][a-z0-9+.-]*://.*")),
    # $1, %TASK_ID%, %s, %!s(MISSING), !TASK_ID!, :task_id, @task_id, __TASK_ID__
    (
        ValueMistake.TEMPLATE,
        _is(r"\$[0-9@*#?!]+|%[a-z_]\w{2,}%|%(?:[0-9]\$)?[sdiu@]|%!\w\(.*\)|![a-z_]\w*!|[:@][a-z_]\w*|__[a-z]\w*__"),
    ),
    # null, (null), None, undefined/undefined, #N/A, 00000000-0000-0000-0000-000000000000
    (ValueMistake.NOTHING, _is(rf"[\W_]*+{_NULL}(?:[\W_]++{_NULL})*(?:[\W_]*+|[/?#:].*)|{_NIL_UUID}")),
    # your-task-id, changeme, xxx, XXXXXXXX-XXXX, ..., ***
    (ValueMistake.EXAMPLE, _is(_EXAMPLE)),
    (ValueMistake.EXAMPLE, _is(r"[\W_]*+(?:(?:change|replace|fix)[\W_]?me|to[\W_]?do|tbd|redacted)[\W_]*+")),
    (ValueMistake.EXAMPLE, _is(r"x(?:[-_.]?x){2,}|…|(?!\.\.\Z)[-–—_*?•·#.…]{2,}")),
    # c8b8e3cd…
    (ValueMistake.CUT, _is(r".+(?:…|\.\.\.)")),
)
"""Rules for the whole text, without blanks around it."""

_PART = (
    # task_id=…, CAMB_API_KEY=…, 'api_key': …
    (ValueMistake.ANSWER, _has(r"(?:\A|[\W_])(?:task[_-]?id|api[_-]?key|token|secret)[\"'\\]*\s*[=:]\s*[^\s=]")),
    # {{ task_id }}, ${TASK_ID}, #{task_id}, $(id), {task_id}, dub-{}, {% … %}, <%= … %>, <task_id>
    (ValueMistake.TEMPLATE, _has(r"\{\{[^}]*\}\}|[$#@]\{[^}]*\}|\$\([^)]*\)|\{[\w\s.$-]*\}|\{%|<%|<[\w\s.:-]+>")),
    # $TASK_ID, $env:TASK_ID, %(task_id)s, \(taskId)
    (ValueMistake.TEMPLATE, _has(r"\$[a-z_]\w*|%\([\w.]*\)[sdr]|\\\(\w+\)")),
    (ValueMistake.BLANKS_AROUND, _has_blanks_around),
    (ValueMistake.QUOTES, _has(rf"\A[{_QUOTES}]|[{_QUOTES}]\Z")),
    (ValueMistake.BRACKETS, _has(r"\A(?:\[.*\]|\{.*\}|<.*>|\(.*\))\Z")),
    # c8b8e3cd\n as these two characters, &quot;c8b8e3cd&quot;, %22c8b8e3cd%22, %7B%7Btask_id%7D%7D
    (
        ValueMistake.ESCAPED,
        _has(
            r"\\[nrt\"'`]|\\u[0-9a-f]{4}|&(?:quot|apos|lt|gt|amp|nbsp|#x?[0-9a-f]{2,6});"
            r"|%2[27]|%7[bd]|\A%(?:09|0[ad]|20)|%(?:09|0[ad]|20)\Z"
        ),
    ),
    (ValueMistake.BLANKS, _has_blanks_inside),
)
"""Rules for a part of the text, checked after those for the whole text."""

# A plain token, which is never rejected.
_TOKEN = re.compile(r"(?=.*[1-9])[A-Za-z0-9](?:[A-Za-z0-9._~+-]*[A-Za-z0-9])?")


def find_value_mistake(text: str) -> ValueMistake | None:
    """
    Why *text*, of a few hundred characters at most, is clearly neither an id nor a key; None if it may be one.

    Letters, digits and `-_.~+` always pass, if the first and last are a letter or digit and one
    is a digit other than 0.
    """
    if _TOKEN.fullmatch(text):
        return None
    bare = text.strip(_AROUND)
    found = (why for why, fits in _WHOLE if fits(bare))
    return next(found, None) or next((why for why, fits in _PART if fits(text)), None)
