"""Whom a paused account is probed with: 403 may be about one task alone."""

from task_samples import pending, unasked

from cambwatch.loops.account import PROBE_FIRST_S, AccountLane, Flip, Watch


def filled(one: AccountLane, tasks: int) -> list[Watch]:
    """So many watches, all due at 0 and put into *one*."""
    watches = [Watch(pending(number=number), unasked()) for number in range(tasks)]
    for each in watches:
        one.put(each, due_s=0)
    return watches


def lane() -> AccountLane:
    return AccountLane(per_second=1000, concurrency=100, now_s=0)


def test_one_task_that_is_forbidden_does_not_stop_the_others() -> None:
    """403 may mean "not your run": the next probe is for one whose last answer was good."""
    one = lane()
    bad, good = filled(one, 2)
    assert one.take(0) is bad
    assert one.take(0) is good
    assert one.answered(good) is None
    one.put(good, due_s=1)
    assert one.was_refused(bad, 403, now_s=1) is Flip.PAUSED
    one.put(bad, due_s=1)
    assert one.take(1 + PROBE_FIRST_S) is good
    assert one.answered(good) is Flip.RESUMED
    assert one.take(1 + PROBE_FIRST_S) is bad
    assert one.was_refused(bad, 403, now_s=7) is None
    assert one.refused is None


def test_tasks_that_were_not_refused_are_probed_first() -> None:
    """However many are forbidden: each is tried once, a short pause apart, before any is tried again."""
    one = lane()
    watches = filled(one, 20)
    now_s = 0.0
    for expected in watches[:-1]:
        assert one.take(now_s) is expected
        one.was_refused(expected, 403, now_s=now_s)
        one.put(expected, due_s=now_s)
        now_s += PROBE_FIRST_S
    assert one.take(now_s) is watches[-1]
