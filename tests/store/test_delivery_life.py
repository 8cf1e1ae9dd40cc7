"""Deliveries in a real database, whatever happens in whatever order: none is lost, none is told twice as taken."""

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from store_samples import NOW, conclude, owed, watch

from cambwatch.adapters.store import row_mapping
from cambwatch.adapters.store.deliveries import DeliveryStore
from cambwatch.adapters.store.delivery_listing import DeliveryAdmin
from cambwatch.adapters.store.schema import attempts
from cambwatch.adapters.store.sqlite import SqliteDatabase
from cambwatch.adapters.store.sqlite_migration import migrate
from cambwatch.adapters.store.tasks import TaskStore
from cambwatch.core.delivery.attempts import AttemptRecord, BreakerChange, PendingDelivery
from cambwatch.core.delivery.breaker import Breaker
from cambwatch.core.delivery.retry import RetryPolicy
from cambwatch.core.events import DestinationAlert, webhook_id
from cambwatch.core.lifecycle import SHORT_BUDGET, decide_after_attempt
from cambwatch.core.model import (
    Attempt,
    Delivery,
    DeliveryFilter,
    DeliveryState,
    Outcome,
    PastAttempt,
    RetryAt,
    Status,
    TaskKey,
)
from cambwatch.core.redaction import Secret
from cambwatch.core.routing import Destination

T = TypeVar("T")
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
MICROSECOND = timedelta(microseconds=1)
FOREVER = NOW + timedelta(days=36500)
GIVE_UP_AFTER = 8 * HOUR
DESTINATIONS = {
    name: Destination(
        name, kind, Secret("https://hook.example/"), retry=RetryPolicy(5 * SECOND, 12, 3 * HOUR, GIVE_UP_AFTER)
    )
    for name, kind in (("hook", "webhook"), ("chat", "slack"))
}
TAKEN = {Outcome.ACCEPTED, Outcome.ACCEPTED_UNVERIFIED}
REFUSED = {Outcome.DESTINATION_GONE, Outcome.PAYLOAD_REJECTED, Outcome.AUTH, Outcome.POLICY}
CLOSED_FOR_GOOD = {DeliveryState.DELIVERED, DeliveryState.CANCELLED}
ALL = DeliveryFilter()
EVERY_ATTEMPT = sa.select(attempts).order_by(attempts.c.number)

destinations = st.sampled_from(sorted(DESTINATIONS))
names = st.sampled_from(["a", "b", "c"])
numbers = st.integers(0, 30)
Answer = tuple[Outcome, int | None, timedelta | None, float]
answers: st.SearchStrategy[Answer] = st.tuples(
    st.sampled_from(Outcome) | st.sampled_from([Outcome.TRANSIENT, Outcome.RATE_LIMITED, Outcome.POLICY]),
    st.sampled_from([None, 401, 404, 410, 429, 503]),
    st.sampled_from([None, None, timedelta(0), SECOND, HOUR]),
    st.floats(0, 1, exclude_max=True),
)


several = st.lists(answers, min_size=1, max_size=4) | answers.map(lambda one: [one] * 12)


@cache
def _migrated() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cambwatch.db"
        migrate(path)
        return path.read_bytes()


class DeliveryLife(RuleBasedStateMachine):
    """Two destinations, a few tasks that are watched again and again, people who meddle, and restarts."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.owed: set[str] = set()
        self.closed: dict[str, tuple[Delivery, list[PastAttempt]]] = {}
        self.not_before: dict[str, datetime] = {}
        self.breakers = dict.fromkeys(DESTINATIONS, Breaker())
        self.under_way: dict[str, PendingDelivery] = {}  # of both destinations, by id
        self.folder = Path(tempfile.mkdtemp())
        self.runner = asyncio.Runner()

    def run(self, coroutine: Coroutine[object, object, T]) -> T:
        return self.runner.run(coroutine)

    async def _open(self) -> None:
        self.database = await SqliteDatabase(self.folder / "cambwatch.db").__aenter__()
        self.tasks = TaskStore(self.database)
        self.deliveries = DeliveryStore(self.database)
        self.delivery_admin = DeliveryAdmin(self.database)

    @initialize()
    def begin(self) -> None:
        (self.folder / "cambwatch.db").write_bytes(_migrated())
        self.run(self._open())
        self.end("a")

    def teardown(self) -> None:
        self.run(self.database.__aexit__())
        self.runner.close()
        shutil.rmtree(self.folder)

    @rule()
    def restart(self) -> None:
        """What was under way is lost with the process, and so is all that is not in the database."""
        self.run(self.database.__aexit__())
        self.under_way.clear()
        self.run(self._open())

    @rule(seconds=st.sampled_from([1, 5, 60, 3600, 6 * 3600, 9 * 3600]))
    def wait(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(name=names)
    def end(self, name: str) -> None:
        """A task ends, or has ended; watched anew it ends once more."""

        async def work() -> set[str]:
            (task,) = await watch(self.tasks, name, now=self.now)
            await conclude(self.tasks, task, Status.EXPIRED, notify=tuple(DESTINATIONS), at=self.now)
            return {one.id for one in await owed(self.tasks, task)}

        found = self.run(work())
        assert len(found - self.owed) == len(DESTINATIONS)
        self.owed |= found

    @rule(name=names)
    def remove(self, name: str) -> None:
        """Nobody wants to hear of it any more."""
        found = self.run(
            self.tasks.remove(TaskKey("default", "dub", name), destinations_for_group=lambda _: (), now=self.now)
        )
        for delivery_id in found[1] if found else ():
            assert delivery_id not in self.closed
            self.not_before.pop(delivery_id, None)

    @rule(destination=destinations, fresh=st.integers(0, 3), repeated=st.integers(0, 3))
    def start(self, destination: str, fresh: int, repeated: int) -> None:
        """Some of what is due is on its way now, none of it twice."""
        self._start(destination, fresh, repeated)

    def _start(self, destination: str, fresh: int, repeated: int) -> datetime | None:
        due = self.run(
            self.deliveries.due(destination, now=self.now, fresh=fresh, repeated=repeated, exclude=self.under_way)
        )
        for one in (*due.fresh, *due.repeated):
            assert one[0].id not in self.under_way
            assert self.not_before.get(one[0].id, self.now) <= self.now
            self.under_way[one[0].id] = one
        return due.next_due_at

    @rule(destination=destinations, most=st.integers(1, 3), answer=answers)
    def answer(self, destination: str, most: int, answer: Answer) -> None:
        """One message that tells of some of what is under way has its fate."""
        self._answer(destination, most, answer)

    @rule(
        destination=destinations, said=st.lists(answers, min_size=1, max_size=4) | answers.map(lambda one: [one] * 12)
    )
    def post(self, destination: str, said: list[Answer]) -> None:
        """What is due is told, or what falls due next when it does; each message has its own fate, or all the same."""
        for answer in said:
            next_due_at = self._start(destination, 2, 2)
            if not self._answer(destination, 4, answer) and next_due_at is not None:
                self.now = next_due_at

    def _answer(self, destination: str, most: int, answer: Answer) -> bool:
        told = [one for one, _ in self.under_way.values() if one.destination == destination][:most]
        if not told:
            return False
        outcome, http_status, wish, chance = answer
        tried = []
        for one in told:
            attempt = Attempt(one.attempts + 1, outcome, 0, http_status, wish, delivery_count=len(told))
            decided = decide_after_attempt(one, attempt, DESTINATIONS[destination], now=self.now, chance=chance)
            tried.append(AttemptRecord(one, attempt, decided))
            del self.under_way[one.id]
        self.run(self.deliveries.record(tried, self._turn(destination, tried[0].attempt, chance), now=self.now))
        for one in tried:
            self.not_before.pop(one.delivery.id, None)
            if isinstance(one.decision, RetryAt) and one.decision.not_before is not None:
                self.not_before[one.delivery.id] = one.decision.not_before
        return True

    def _turn(self, destination: str, attempt: Attempt, chance: float) -> BreakerChange | None:
        before = self.breakers[destination]
        after = before.after(attempt, DESTINATIONS[destination].retry, probe=before.open, now=self.now, chance=chance)
        self.breakers[destination] = after
        return (
            None
            if after == before
            else BreakerChange(destination, after, retries_due_now=before.open and not after.open)
        )

    @rule(recovered=st.booleans())
    def alert(self, *, recovered: bool) -> None:
        """Chat hears of trouble with hook, however often it is said."""
        alert = DestinationAlert(
            "hook", since=NOW, at=self.now, recovered=recovered, waiting=0, outcome=Outcome.TRANSIENT
        )
        self.run(
            self.deliveries.record_breaker_change(
                BreakerChange("hook", self.breakers["hook"], alert, "chat"), now=self.now
            )
        )
        self.owed.add(webhook_id(alert, "chat"))

    @rule(number=numbers)
    def retry(self, number: int) -> None:
        """Somebody wishes for another try of whichever one."""
        if not self.owed:
            return
        delivery_id = sorted(self.owed)[number % len(self.owed)]
        assert self.run(self.delivery_admin.retry(delivery_id, now=self.now)) == (delivery_id not in self.closed)
        self.not_before.pop(delivery_id, None)

    @rule(state=st.sampled_from([DeliveryState.DEAD, DeliveryState.PENDING]), destination=destinations)
    def retry_some(self, state: DeliveryState, destination: str) -> None:
        """Or of all to a destination."""

        async def work() -> set[str]:
            before = await self._all()
            while await self.delivery_admin.retry_some(
                state, destinations=[destination], since=None, now=self.now, limit=2
            ):
                pass
            return {one for one, found in (await self._all()).items() if found[0] != before[one][0]}

        for delivery_id in self.run(work()):
            self.not_before.pop(delivery_id, None)

    async def _all(self) -> dict[str, tuple[Delivery, list[PastAttempt]]]:
        kept: dict[str, list[PastAttempt]] = {}
        for row in await self.database.read(lambda connection: connection.execute(EVERY_ATTEMPT).all()):
            kept.setdefault(row.delivery_id, []).append(row_mapping.attempt(row))
        page = await self.delivery_admin.page(ALL, limit=999, before=None)
        return {delivery.id: (delivery, kept.get(delivery.id, [])) for delivery, _ in page}

    @invariant()
    def all_holds(self) -> None:
        """What is true of every delivery at every moment."""
        if not hasattr(self, "database"):
            return
        found = self.run(self._all())
        assert set(found) == self.owed
        for delivery_id, before in self.closed.items():
            assert found[delivery_id] == before  # no way out, and nothing comes after it
        for delivery, kept in found.values():
            assert [past.attempt.number for past in kept] == list(range(1, delivery.attempts + 1))
            taken = sum(past.attempt.outcome in TAKEN for past in kept)
            assert taken == (delivery.state is DeliveryState.DELIVERED)
            if delivery.state is DeliveryState.DEAD:
                _assert_is_over(delivery, kept[-1])
        self.closed = {one: seen for one, seen in found.items() if seen[0].state in CLOSED_FOR_GOOD}
        self.run(self._finds_what_waits([one for one, _ in found.values() if one.state is DeliveryState.PENDING]))
        bad = {name: breaker for name, breaker in self.breakers.items() if breaker != Breaker()}
        assert self.run(self.deliveries.breakers()) == bad

    async def _finds_what_waits(self, waiting: list[Delivery]) -> None:
        """Each at its instant and not before, once, whether it was tried or not."""
        for name in DESTINATIONS:
            mine = {one.id: one for one in waiting if one.destination == name}
            due = await self.deliveries.due(name, now=FOREVER, fresh=999, repeated=999, exclude=())
            fresh, repeated = ([one for one, _ in some] for some in (due.fresh, due.repeated))
            assert {one.id: one for one in (*fresh, *repeated)} == mine
            assert len(fresh) + len(repeated) == len(mine)
            assert not any(one.attempts for one in fresh)
            assert all(one.attempts for one in repeated)
            instants = sorted({one.next_attempt_at for one in mine.values() if one.next_attempt_at})
            for at in instants[:1] + instants[-1:]:
                early = await self.deliveries.due(name, now=at - MICROSECOND, fresh=999, repeated=999, exclude=())
                assert early.next_due_at == at
                assert {one.id for one, _ in (*early.fresh, *early.repeated)} == {
                    one.id for one in mine.values() if one.next_attempt_at and one.next_attempt_at < at
                }


def _assert_is_over(delivery: Delivery, last: PastAttempt) -> None:
    """That *delivery* is dead because of what its *last* answer means, or because its budget is used up."""
    outcome, http_status = last.attempt.outcome, last.attempt.http_status
    chat = delivery.destination == "chat"
    if outcome is Outcome.DESTINATION_GONE and (chat or http_status == 410):
        return
    if chat and outcome in {Outcome.AUTH, Outcome.PAYLOAD_REJECTED}:
        return
    assert delivery.finished_at is not None
    budget = SHORT_BUDGET if outcome in REFUSED else GIVE_UP_AFTER
    assert delivery.finished_at - (delivery.budget_from or delivery.created_at) >= budget + delivery.uncharged


DeliveryLife.TestCase.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
TestDeliveryLife = DeliveryLife.TestCase
