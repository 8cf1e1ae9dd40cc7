"""What is told has one id for each receiver, for ever."""

from dataclasses import replace
from datetime import timedelta

import pytest
from event_samples import TERMINAL, complete, ended
from hypothesis import given
from hypothesis import strategies as st

from cambwatch.core.events import webhook_id
from cambwatch.core.model import Status

# Of task ids and groups everything else is refused where they come in.
words = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=10)
names = st.text("ab_.-", min_size=1, max_size=4)
keys = st.tuples(names, names, words, st.integers(1, 12), st.sampled_from(TERMINAL), names)


def id_of(account: str, kind: str, task_id: str, registrations: int, status: Status, destination: str) -> str:
    event = ended(status, account=account, kind=kind, task_id=task_id, registrations=registrations)
    return webhook_id(event, destination)


@pytest.mark.parametrize("status", TERMINAL)
def test_the_type_of_an_end_is_its_status(status: Status) -> None:
    """In lower case, as receivers know it."""
    assert ended(status).type == f"camb.task.{status.value.lower()}"
    assert complete({}).type == "camb.group.complete"


def test_ids_never_change() -> None:
    """A receiver that has seen one before an update must know it after."""
    assert webhook_id(ended(), "pipeline") == "msg_503a55b80a5d598a8b78289843a01b74"
    assert webhook_id(complete({"SUCCESS": 3}), "pipeline") == "msg_d8f42ae69b7d5e72a80e419788f93a96"


def test_what_was_forgotten_and_comes_again_has_ids_of_its_own() -> None:
    """Its count of registrations begins anew, and a group has none at all: the instant tells them apart."""
    for event in (ended(), complete({"SUCCESS": 3})):
        again = replace(event, registered_at=event.registered_at + timedelta(microseconds=1))
        assert webhook_id(again, "pipeline") != webhook_id(event, "pipeline")


@given(st.lists(keys, min_size=2, max_size=20, unique=True))
def test_no_two_ends_share_an_id(ends: list) -> None:
    """Nor two destinations, nor a task that is watched anew."""
    assert len({id_of(*end) for end in ends}) == len(ends)


@given(words, words, names, names)
def test_groups_share_no_id_with_anything(one: str, other: str, destination: str, elsewhere: str) -> None:
    """Neither with each other nor with tasks."""
    ids = {webhook_id(complete({}, group), name) for group in (one, other) for name in (destination, elsewhere)}
    assert len(ids) == len({one, other}) * len({destination, elsewhere})
    assert webhook_id(ended(task_id=one), destination) not in ids


@given(keys)
def test_ids_are_fit_to_be_signed(end: tuple) -> None:
    """Without a dot, because that parts id, time and body in what is signed."""
    assert id_of(*end)[:4] == "msg_"
    assert set(id_of(*end)[4:]) <= set("0123456789abcdef")
    assert len(id_of(*end)) == 36


def test_what_an_end_says_does_not_change_its_id() -> None:
    """The same end told twice, after a crash with another result or another count of polls, is the same."""
    event = ended()
    again = replace(event, message="x", run_id=7, polls=9, name="n", result={"a": 1}, finished_at=event.registered_at)
    assert webhook_id(again, "pipeline") == webhook_id(event, "pipeline")
    assert webhook_id(complete({"SUCCESS": 1}), "p") == webhook_id(complete({"ERROR": 4}), "p")
