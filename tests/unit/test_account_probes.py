"""Whom a paused account is probed with: 403 may be about one task alone."""

import pytest
from task_samples import pending, unasked

from cambwatch.core.model import (
    Fault,
    FinishedReply,
    ForbiddenReply,
    InvalidTaskIdReply,
    PendingReply,
    PollReply,
    Status,
    UnavailableReply,
    UnknownTaskReply,
)
from cambwatch.loops.polling.account_queue import (
    PROBE_MIN_S,
    UNREACHABLE_AFTER,
    AccountChange,
    AccountQueue,
    WatchedTask,
)


def filled(one: AccountQueue, tasks: int) -> list[WatchedTask]:
    """So many watches, all due at 0 and put into *one*."""
    watches = [WatchedTask(pending(number=number), unasked()) for number in range(tasks)]
    for each in watches:
        one.put(each, due_s=0)
    return watches


def lane() -> AccountQueue:
    return AccountQueue(per_second=1000, concurrency=100, now_s=0)


def test_one_task_that_is_forbidden_stops_no_other() -> None:
    """403 may mean "not your run": the key is refused only where no task gets a status."""
    one = lane()
    bad, good = filled(one, 2)
    one.evidence.watch(2)
    assert one.take(0) is bad
    assert one.record_reply(bad, ForbiddenReply(403), now_s=0) is None
    assert one.refused is None
    assert one.take(0) is good
    assert one.record_reply(good, PendingReply(), now_s=1) is None
    for now_s in range(2, 50):
        one.put(bad, due_s=now_s)
        assert one.take(now_s) is bad
        assert one.record_reply(bad, ForbiddenReply(403), now_s=now_s) is None
    assert one.refused is None


def test_a_key_that_is_forbidden_for_all_tasks_is_refused() -> None:
    """The task that got the last status is the first probe. Its next status resumes the account."""
    one = lane()
    bad, good = filled(one, 2)
    one.evidence.watch(2)
    one.take(0), one.take(0)
    one.record_reply(good, PendingReply(), now_s=0)
    assert one.record_reply(bad, ForbiddenReply(403), now_s=1) is None
    assert one.record_reply(good, ForbiddenReply(403), now_s=1) is AccountChange.PAUSED
    one.put(bad, due_s=1)
    one.put(good, due_s=1)
    assert one.take(1 + PROBE_MIN_S) is good
    assert one.record_reply(good, PendingReply(), now_s=7) is AccountChange.RESUMED
    assert one.refused is None


@pytest.mark.parametrize(
    "answer",
    [
        UnknownTaskReply("no such task"),
        InvalidTaskIdReply("bad id"),
        PendingReply("REFRACTING"),
        FinishedReply(Status.ERROR, certain=False),
    ],
)
def test_only_a_status_resumes_a_paused_account(answer: PollReply) -> None:
    """Camb may answer 404 without checking the key, and a gateway does not know it."""
    one = lane()
    first, second = filled(one, 2)
    one.take(0)
    assert one.record_reply(first, ForbiddenReply(401), now_s=0) is AccountChange.PAUSED
    assert one.take(PROBE_MIN_S) is second
    assert one.record_reply(second, answer, now_s=PROBE_MIN_S) is None
    assert one.refused == 401
    one.put(first, due_s=0)
    assert one.take(PROBE_MIN_S + 1) is None
    assert one.take(10 * PROBE_MIN_S) is first
    assert one.record_reply(first, FinishedReply(Status.ERROR), now_s=60) is AccountChange.RESUMED


def test_a_refusal_in_cambs_form_ends_the_outage_of_the_account() -> None:
    """Camb's own 404 is an answer, although it proves nothing about the key."""
    one = lane()
    watches = filled(one, UNREACHABLE_AFTER + 1)
    for each in watches:
        one.take(0)
        one.record_reply(each, UnavailableReply(Fault.FOREIGN, detail="HTTP 404 of a gateway"), now_s=0)
    assert one.trouble == "HTTP 404 of a gateway"
    one.put(watches[0], due_s=0)
    one.take(0)
    assert one.record_reply(watches[0], UnknownTaskReply("no such task"), now_s=0) is AccountChange.RECOVERED


def test_tasks_that_were_not_refused_are_probed_first() -> None:
    """However many are forbidden: each is tried once, a short pause apart, before any is tried again."""
    one = lane()
    watches = filled(one, 20)
    now_s = 0.0
    for expected in watches[:-1]:
        assert one.take(now_s) is expected
        one.record_reply(expected, ForbiddenReply(403), now_s=now_s)
        one.put(expected, due_s=now_s)
        now_s += PROBE_MIN_S
    assert one.take(now_s) is watches[-1]


def test_a_task_that_camb_does_not_know_is_not_the_only_probe() -> None:
    """Its 404 proves nothing about the key, so other tasks are probed as well."""
    one = lane()
    first, unheard_of = filled(one, 2)
    one.take(0)
    one.record_reply(first, ForbiddenReply(401), now_s=0)
    one.put(first, due_s=1)
    now_s, probed = 0.0, []
    for _ in range(4):
        now_s = one.next_wakeup_s(now_s)
        probed.append(one.take(now_s))
        one.record_reply(
            probed[-1], UnknownTaskReply() if probed[-1] is unheard_of else ForbiddenReply(401), now_s=now_s
        )
        one.put(probed[-1], due_s=now_s)
    assert probed == [unheard_of, first, unheard_of, first]
