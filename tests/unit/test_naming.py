"""What a name may be."""

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cambwatch.core.names import LONGEST_TASK_ID, check_known_task_id, check_name, check_task_id

GIVE_ONE = "give the task_id that Camb returned, such as c8b8e3cd-ad17-4458-83ad-349432da117b"


@pytest.mark.parametrize(
    "text",
    [
        "c8b8e3cd-ad17-4458-83ad-349432da117b",
        "x",
        "a/b",
        "../up",
        "?a=b&c#d",
        "%2e%2e",
        "日本語",
        "👩‍👩‍👧‍👦",
        "ABC",
        "x1" * (LONGEST_TASK_ID // 2),
    ],
)
def test_task_ids_are_opaque(text: str) -> None:
    """Whatever can be percent-encoded and keeps its meaning is taken as it is."""
    assert check_task_id(text) is text
    assert check_known_task_id(text) is text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("null", f"is what a program prints for a missing value: {GIVE_ONE}"),
        ("${TASK}", f"is a template that was not filled in: {GIVE_ONE}"),
        ("your-task-id", f"is a placeholder from an example: {GIVE_ONE}"),
        ('{"task_id": "a"}', f"is a whole response, an assignment or a printed object: {GIVE_ONE}"),
        ('"a"', "starts or ends with a quote: remove it"),
        ("a ", "starts or ends with white space or an invisible character: remove it"),
        ("a\n", "starts or ends with white space or an invisible character: remove it"),
        ("[a1]", "is in brackets: remove it"),
        ("a b", "contains white space or an invisible character: remove it"),
    ],
)
def test_what_is_clearly_not_a_task_id_is_refused_with_what_to_do(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        check_task_id(text)


@pytest.mark.parametrize("text", ["null", "${TASK}", '"a"', " ", "a b", "\ufeff", "...", "https://a/b"])
def test_a_task_that_an_older_version_registered_can_be_looked_up(text: str) -> None:
    assert check_known_task_id(text) is text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("x" * (LONGEST_TASK_ID + 1), "201 characters long, 200 are allowed"),
        ("x" * 10_000, "10000 characters"),
        ("\0", "control"),
        ("a\nb", "control"),
        ("a\tb", "control"),
        ("\x7f", "control"),
        ("a\x85b", "control"),
        ("a\u2028b", "control"),
        ("\ud800", "control"),
        (".", "another path"),
        ("..", "another path"),
    ],
)
def test_what_no_task_id_can_be(text: str, why: str) -> None:
    """And the message says what is wrong with it."""
    for check in (check_task_id, check_known_task_id):
        with pytest.raises(ValueError, match=why):
            check(text)


@given(st.text(st.characters(exclude_categories=()), max_size=LONGEST_TASK_ID + 10))
def test_a_task_id_can_always_be_sent(text: str) -> None:
    """What is taken has an encoding, no control character, and is one step of a path."""
    try:
        taken = check_known_task_id(text)
    except ValueError:
        return
    assert taken == text
    assert taken.encode()
    assert len(taken) <= LONGEST_TASK_ID
    assert taken not in {".", ".."}
    assert not {"Cc", "Cs", "Zl", "Zp"} & {unicodedata.category(c) for c in taken}


@pytest.mark.parametrize("text", ["default", "studio-b", "a", "A.b_C-9", "x" * 64])
def test_names_are_plain(text: str) -> None:
    """Letters, digits, `_`, `.` and `-`."""
    assert check_name(text) is text


@pytest.mark.parametrize("text", ["", "x" * 65, "a b", "a/b", "a\n", "\n", "é", "١", "a:b", "a,b", "\ud800"])
def test_other_names_are_refused(text: str) -> None:
    """Also those that are nearly right."""
    with pytest.raises(ValueError, match="1 to 64 letters"):
        check_name(text)
