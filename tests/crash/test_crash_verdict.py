"""A campaign finds what it is there to find: each broken promise, and nothing where all were kept."""

import pytest
from outcome import Outcome, table
from verdict import Fault, Finding, Post, Promise, doubles, judge

ENDED = Promise("task t", "ERROR", frozenset({"everything", "failures"}))
REMOVED = Promise("task r", "SUCCESS", frozenset({"everything"}), owed=False, removed_at_s=10.0)
DROPPED = Promise("task u", "SUCCESS", frozenset({"everything"}), owed=False)
GROUP = Promise("group g", "3", frozenset({"batches"}))
SILENT = Promise("task s", "SUCCESS", frozenset())
PROMISES = [ENDED, REMOVED, DROPPED, GROUP, SILENT]


def post(event="task t", destination="everything", **fields):
    """One that keeps the promise, but for *fields*."""
    end = {"task t": "ERROR", "task r": "SUCCESS", "task u": "SUCCESS", "group g": "3", "task s": "SUCCESS"}
    usual = {
        "at_s": 1.0,
        "destination": destination,
        "webhook_id": f"{event}@{destination}",
        "event": event,
        "end": end.get(event, "SUCCESS"),
        "digest": event,
        "accepted": True,
    }
    return Post(**(usual | fields))


KEPT = [post(), post(destination="failures"), post("group g", "batches")]


def found(posts, kills_s=(), promises=PROMISES, thaws_s=()):
    return [(one.fault, one.what) for one in judge(promises, posts, kills_s=kills_s, grace_s=2.0, thaws_s=thaws_s)]


def faults(posts, kills_s=()):
    return [fault for fault, _ in found(posts, kills_s)]


@pytest.mark.parametrize(
    ("posts", "kills_s"),
    [
        pytest.param(KEPT, [], id="each once"),
        pytest.param([*KEPT, post(at_s=3.0)], [2.0], id="again after a kill"),
        pytest.param([*KEPT, post(at_s=1.2)], [0.9], id="read after the kill of who had sent it"),
        pytest.param([post(accepted=False, at_s=0.5), *KEPT], [], id="again after a bad answer"),
        pytest.param([*KEPT, post("task r", at_s=9.0)], [], id="before the removal"),
        pytest.param([*KEPT, post("task r", at_s=11.9)], [], id="under way at the removal"),
        pytest.param([*KEPT, post("task u", at_s=99.0)], [], id="a removal that nobody answered"),
    ],
)
def test_what_was_kept_is_found_kept(posts, kills_s):
    assert found(posts, kills_s) == []


@pytest.mark.parametrize("missing", range(3))
def test_each_lost_event_is_found(missing):
    """At the destination that did not hear, by name."""
    posts = [one for number, one in enumerate(KEPT) if number != missing]
    assert found(posts) == [(Fault.LOST, f"{KEPT[missing].event} at {KEPT[missing].destination}")]


@pytest.mark.parametrize("missing", range(3))
def test_what_was_never_accepted_is_lost(missing):
    """To have posted it is not enough."""
    posts = [post(one.event, one.destination, accepted=number != missing) for number, one in enumerate(KEPT)]
    assert faults(posts) == [Fault.LOST]


@pytest.mark.parametrize(
    ("posts", "expected"),
    [
        pytest.param([post(at_s=3.0, webhook_id="other")], [Fault.SECOND_ID], id="a double with another id"),
        pytest.param(
            [post("group g", "batches", at_s=3.0, webhook_id="other")], [Fault.SECOND_ID], id="a group told twice"
        ),
        pytest.param([post(at_s=3.0, digest="other")], [Fault.OTHER_BODY], id="a double that says something else"),
        pytest.param(
            [post("task u", webhook_id="task t@everything", at_s=3.0)], [Fault.SHARED_ID], id="an id of another event"
        ),
        pytest.param(
            [post(destination="failures", webhook_id="task t@everything", at_s=3.0)],
            [Fault.SECOND_ID, Fault.SHARED_ID],
            id="an id of another destination",
        ),
        pytest.param([post("task r", at_s=12.1)], [Fault.AFTER_REMOVAL], id="posted after the removal"),
        pytest.param([post("task r", at_s=12.1, accepted=False)], [Fault.AFTER_REMOVAL], id="the same, refused"),
        pytest.param([post("task s")], [Fault.UNWANTED], id="told to whom it was not meant for"),
        pytest.param([post("task u", end="EXPIRED")], [Fault.WRONG_END], id="an end that Camb never said"),
        pytest.param([post("task x")], [Fault.STRANGE], id="of a task that nobody named"),
    ],
)
def test_each_broken_promise_is_found(posts, expected):
    assert faults([*KEPT, *posts], kills_s=[2.0]) == expected


@pytest.mark.parametrize("kills_s", [[], [0.5], [3.5], [0.5, 3.5]])
def test_a_double_without_a_crash_is_found(kills_s):
    """Killed before the first or after the second post explains nothing."""
    assert faults([*KEPT, post(at_s=3.0)], kills_s) == [Fault.NEEDLESS_DOUBLE]


@pytest.mark.parametrize(
    ("at_s", "expected"), [(19.9, [Fault.AFTER_REMOVAL]), (20.0, []), (21.0, []), (21.1, [Fault.AFTER_REMOVAL])]
)
def test_who_thaws_may_still_send_what_it_was_about_to_send(at_s, expected):
    """At once, and nothing that was removed before that."""
    faults = [fault for fault, _ in found([*KEPT, post("task r", at_s=at_s)], kills_s=[9.0, 20.0], thaws_s=[20.0])]
    assert faults == expected


def test_only_what_had_been_accepted_counts_as_double():
    tries = [post(at_s=1.0, accepted=False), post(at_s=2.0), post(at_s=3.0), post(at_s=4.0, accepted=False)]
    assert doubles(tries) == 2


def test_the_table_names_what_was_found():
    outcome = Outcome([Finding(Fault.LOST, "task t at failures")] * 50, {"at random": 3}, {"kills": 1234})
    shown = table(outcome)
    assert "1,234" in shown
    assert "Found: lost 50" in shown
    assert "task t at failures" in shown
    assert "10 more" in shown
