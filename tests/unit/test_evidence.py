"""What the answers to all polls of one account prove about its key and its tasks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cambwatch.core.camb.evidence import (
    FORBIDDEN_TASKS,
    GONE_AFTER_S,
    GONE_AT_ONCE,
    GONE_AT_ONCE_S,
    NO_EVIDENCE,
    RECENT_STATUS_S,
    REMEMBERED_S,
    AccountEvidence,
    Evidence,
    shows_status,
)
from cambwatch.core.model import (
    Fault,
    FinishedReply,
    ForbiddenReply,
    InvalidTaskIdReply,
    PendingReply,
    PollReply,
    Status,
    UnavailableReply,
    UnconfirmedReply,
    UnknownTaskReply,
)

OK = PendingReply()
FORBIDDEN = ForbiddenReply(403)
GONE = UnknownTaskReply("no such task")
MINUTE_S = 60.0


def watching(tasks: int) -> AccountEvidence:
    made = AccountEvidence()
    made.watch(tasks)
    return made


def hear(evidence: AccountEvidence, *answers: tuple[int, PollReply], at_s: float = 0.0) -> None:
    for task, reply in answers:
        evidence.note(task, reply, known=True, now_s=at_s)


@pytest.mark.parametrize(
    ("reply", "proves"),
    [
        (PendingReply(), True),
        (PendingReply("REFRACTING"), False),
        (FinishedReply(Status.SUCCESS), True),
        (FinishedReply(Status.ERROR, certain=False), False),
        (UnconfirmedReply(7), True),
        (UnknownTaskReply("no such task"), False),
        (InvalidTaskIdReply("no UUID"), False),
        (ForbiddenReply(401), False),
        (ForbiddenReply(403), False),
        *((UnavailableReply(fault), False) for fault in Fault),
    ],
)
def test_only_a_status_in_camb_s_own_words_is_proof(reply: PollReply, *, proves: bool) -> None:
    assert shows_status(reply) is proves


# Each row: the number of watched tasks, the reports in order, and whether the key then counts as refused.
KEY = {
    "401": (5, [(1, ForbiddenReply(401))], True),
    "401 after statuses": (5, [(1, OK), (2, OK), (1, ForbiddenReply(401))], True),
    "401, then a status": (5, [(1, ForbiddenReply(401)), (2, OK)], False),
    "401, then a 404": (5, [(1, ForbiddenReply(401)), (2, GONE)], True),
    "403 for the only task": (1, [(1, FORBIDDEN)], True),
    "403 for one, the other not asked yet": (2, [(1, FORBIDDEN)], False),
    "403 for one, again and again": (2, [(1, FORBIDDEN)] * 50, False),
    "403 for one, a status for the other": (2, [(1, FORBIDDEN), (2, OK), (1, FORBIDDEN)], False),
    "403 for both": (2, [(1, FORBIDDEN), (2, FORBIDDEN)], True),
    "403 for both, which had a status before": (2, [(1, OK), (2, OK), (1, FORBIDDEN), (2, FORBIDDEN)], True),
    "403 for all but one that is forbidden anyway": (
        3,
        [(1, FORBIDDEN), (2, OK), (3, OK), (2, FORBIDDEN), (1, FORBIDDEN), (3, FORBIDDEN)],
        True,
    ),
    "403 for a few of many": (100, [(task, FORBIDDEN) for task in range(FORBIDDEN_TASKS - 1)], False),
    "403 for enough of many": (100, [(task, FORBIDDEN) for task in range(FORBIDDEN_TASKS)], True),
    "403 for enough of many, a status in between": (
        100,
        [*((task, FORBIDDEN) for task in range(5)), (50, OK), *((task, FORBIDDEN) for task in range(5, 11))],
        False,
    ),
    "403 for enough of many, a gateway in between": (
        100,
        [*((task, FORBIDDEN) for task in range(9)), (50, UnavailableReply(Fault.FOREIGN)), (9, FORBIDDEN)],
        True,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("tasks", "heard", "refused"), KEY.values(), ids=KEY)
def test_when_the_key_counts_as_refused(tasks: int, heard: list[tuple[int, PollReply]], *, refused: bool) -> None:
    evidence = watching(tasks)
    hear(evidence, *heard)
    assert evidence.key_refused is refused


def test_a_task_is_forbidden_alone_once_another_has_a_status() -> None:
    evidence = watching(3)
    hear(evidence, (2, OK), (1, FORBIDDEN))
    assert evidence.evidence_for(1, now_s=0) == NO_EVIDENCE
    hear(evidence, (3, OK))
    assert evidence.evidence_for(1, now_s=0) == Evidence(only_this_forbidden=True)
    hear(evidence, (1, OK))
    assert evidence.evidence_for(1, now_s=0) == NO_EVIDENCE


def test_forbidden_tasks_that_are_left_alone_do_not_pause_the_account() -> None:
    """The key worked for others while these were forbidden; a new one that is forbidden too is about the key."""
    evidence = watching(3)
    hear(evidence, (1, FORBIDDEN), (2, FORBIDDEN), (3, OK))
    evidence.unwatch(3)
    hear(evidence, (1, FORBIDDEN), (2, FORBIDDEN))
    assert not evidence.key_refused
    evidence.watch(1)
    hear(evidence, (4, FORBIDDEN))
    assert evidence.key_refused


def test_a_task_that_leaves_takes_its_refusal_along() -> None:
    evidence = watching(3)
    hear(evidence, (1, FORBIDDEN))
    evidence.unwatch(1)
    hear(evidence, (2, FORBIDDEN))
    assert not evidence.key_refused
    hear(evidence, (3, FORBIDDEN))
    assert evidence.key_refused


@pytest.mark.parametrize("refusal", [UnknownTaskReply("no such task"), InvalidTaskIdReply("no UUID")])
def test_a_known_task_is_gone_after_an_hour_of_404_and_statuses_for_others(refusal: PollReply) -> None:
    evidence = watching(2)
    hear(evidence, (1, refusal), at_s=0)
    hear(evidence, (2, OK), at_s=GONE_AFTER_S - 1)
    hear(evidence, (1, refusal), at_s=GONE_AFTER_S - 1)
    assert not evidence.evidence_for(1, now_s=GONE_AFTER_S - 1).gone
    assert evidence.evidence_for(1, now_s=GONE_AFTER_S).gone


def test_the_hour_begins_again_with_a_status() -> None:
    evidence = watching(2)
    hear(evidence, (1, GONE), at_s=0)
    hear(evidence, (1, OK), at_s=GONE_AFTER_S / 2)
    hear(evidence, (1, GONE), at_s=GONE_AFTER_S / 2 + 1)
    hear(evidence, (2, OK), at_s=GONE_AFTER_S)
    assert not evidence.evidence_for(1, now_s=GONE_AFTER_S).gone


@pytest.mark.parametrize(
    "outage", [UnavailableReply(Fault.SERVER_ERROR), UnavailableReply(Fault.FOREIGN), FORBIDDEN, PendingReply("?")]
)
def test_the_hour_of_404_begins_again_after_an_outage(outage: PollReply) -> None:
    """Two 404 with an hour of a gateway between them are not an hour of 404."""
    evidence = watching(2)
    hear(evidence, (1, GONE), at_s=0)
    hear(evidence, (1, outage), at_s=GONE_AFTER_S - 1)
    hear(evidence, (1, GONE), (2, OK), at_s=GONE_AFTER_S)
    assert not evidence.evidence_for(1, now_s=GONE_AFTER_S).gone
    hear(evidence, (2, OK), at_s=2 * GONE_AFTER_S)
    assert evidence.evidence_for(1, now_s=2 * GONE_AFTER_S).gone


def test_an_outage_does_not_hide_that_tasks_turned_404_together() -> None:
    evidence = watching(10)
    hear(evidence, *((task, GONE) for task in range(GONE_AT_ONCE)), at_s=0)
    hear(evidence, *((task, UnavailableReply(Fault.FOREIGN)) for task in range(1, GONE_AT_ONCE)), at_s=GONE_AT_ONCE_S)
    hear(evidence, *((task, GONE) for task in range(GONE_AT_ONCE)), at_s=3 * GONE_AT_ONCE_S)
    hear(evidence, (9, OK), at_s=GONE_AFTER_S)
    assert not evidence.evidence_for(0, now_s=GONE_AFTER_S).gone


@pytest.mark.parametrize(
    ("heard", "gone"),
    [
        ([], False),
        ([(2, UnavailableReply(Fault.FOREIGN)), (3, FORBIDDEN), (4, PendingReply("?"))], False),
        ([(1, GONE)], False),
        ([(2, OK)], True),
    ],
)
def test_without_a_status_for_another_task_nothing_is_gone(heard: list[tuple[int, PollReply]], *, gone: bool) -> None:
    evidence = watching(9)
    hear(evidence, (1, GONE), at_s=0)
    hear(evidence, *heard, at_s=GONE_AFTER_S)
    assert evidence.evidence_for(1, now_s=GONE_AFTER_S).gone is gone
    assert not evidence.evidence_for(1, now_s=GONE_AFTER_S + RECENT_STATUS_S + 1).gone, "the status has to be recent"


@pytest.mark.parametrize("together", [1, GONE_AT_ONCE - 1, GONE_AT_ONCE, 50])
def test_many_known_tasks_that_turn_404_together_are_an_outage(together: int) -> None:
    evidence = watching(100)
    for task in range(together):
        hear(evidence, (task, GONE), at_s=task * (GONE_AT_ONCE_S / 50))
    now_s = GONE_AFTER_S + GONE_AT_ONCE_S
    hear(evidence, (99, OK), at_s=now_s)
    assert [evidence.evidence_for(task, now_s=now_s).gone for task in range(together)] == [
        together < GONE_AT_ONCE
    ] * together


def test_tasks_that_turn_404_far_apart_are_each_gone() -> None:
    evidence = watching(100)
    for task in range(10):
        hear(evidence, (task, GONE), at_s=task * (GONE_AT_ONCE_S + 1))
    now_s = GONE_AFTER_S + 10 * GONE_AT_ONCE_S + 10
    hear(evidence, (99, OK), at_s=now_s)
    assert all(evidence.evidence_for(task, now_s=now_s).gone for task in range(10))


def test_a_task_that_expires_does_not_make_the_others_gone() -> None:
    """Three tasks turned 404 together. One leaves at its deadline; it is still an outage."""
    evidence = watching(10)
    hear(evidence, *((task, GONE) for task in range(GONE_AT_ONCE)), at_s=0)
    evidence.unwatch(0)
    hear(evidence, (9, OK), at_s=GONE_AFTER_S)
    assert not evidence.evidence_for(1, now_s=GONE_AFTER_S).gone


def test_what_turned_404_long_ago_is_forgotten() -> None:
    evidence = watching(10)
    hear(evidence, *((task, GONE) for task in range(9)), at_s=0)
    hear(evidence, (9, GONE), at_s=REMEMBERED_S + 1)
    assert len(evidence._gone) == 1


def test_a_task_that_was_never_known_needs_no_such_proof() -> None:
    evidence = watching(2)
    evidence.note(1, GONE, known=False, now_s=0)
    hear(evidence, (2, OK), at_s=GONE_AFTER_S)
    assert not evidence.evidence_for(1, now_s=GONE_AFTER_S).gone


answers = st.sampled_from(
    [OK, FORBIDDEN, ForbiddenReply(401), GONE, InvalidTaskIdReply(), PendingReply("?"), UnavailableReply(Fault.FOREIGN)]
)


@given(st.lists(st.tuples(st.integers(0, 5), answers, st.floats(0, 600)), max_size=60))
def test_nothing_is_proven_against_a_key_that_just_worked(heard: list[tuple[int, PollReply, float]]) -> None:
    evidence, now_s = watching(6), 0.0
    for task, reply, pause_s in heard:
        now_s += pause_s
        evidence.note(task, reply, known=True, now_s=now_s)
        if shows_status(reply):
            assert evidence.evidence_for(task, now_s=now_s) == NO_EVIDENCE
    assert evidence._forbidden_since_status == sum(at == evidence._statuses for at in evidence._forbidden.values())
