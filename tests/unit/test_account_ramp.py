"""How many polls of an account go out at once after a rate limit."""

from datetime import timedelta

from task_samples import pending, unasked

from cambwatch.core.model import Fault, PendingReply, UnavailableReply
from cambwatch.loops.polling.account_queue import AccountQueue, WatchedTask


def account(*, tasks: int) -> AccountQueue:
    """Four polls at once, so many tasks, all due at 0."""
    one = AccountQueue(per_second=1e6, concurrency=4, now_s=0)
    for number in range(tasks):
        one.put(WatchedTask(pending(number=number), unasked()), due_s=0)
    return one


def all_taken(one: AccountQueue, now_s: float) -> list[WatchedTask]:
    """As many as may be under way at once, by a budget that is no limit."""
    return list(iter(lambda: one.take(now_s), None))


def test_after_a_rate_limit_the_first_poll_goes_alone() -> None:
    """Whether Camb named a pause or not; polls from before bring none of the others back."""
    for wish in (None, timedelta(seconds=60)):
        one = account(tasks=30)
        under_way = all_taken(one, 0)
        assert len(under_way) == 4
        one.record_reply(under_way.pop(), UnavailableReply(Fault.RATE_LIMITED, wish), now_s=0)
        for each in under_way:
            one.record_reply(each, PendingReply(), now_s=0)
        counts = []
        for _ in range(3):
            together = all_taken(one, 61)
            counts.append(len(together))
            for each in together:
                one.record_reply(each, PendingReply(), now_s=61)
        assert counts == [1, 2, 4]


def test_a_pause_from_before_a_reload_ends_with_one_poll_as_well() -> None:
    one = account(tasks=10)
    one.pause_until(60)
    assert len(all_taken(one, 61)) == 1


def test_a_failure_that_is_no_rate_limit_changes_nothing_of_how_many_go_at_once() -> None:
    one = account(tasks=10)
    for each in all_taken(one, 0):
        one.record_reply(each, UnavailableReply(Fault.SERVER_ERROR, timedelta(seconds=60)), now_s=0)
    assert len(all_taken(one, 1)) == 4
