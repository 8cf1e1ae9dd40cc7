"""
When to ask for the tasks of each kind: as configured, and better as soon as it is known how long they take.

Learns from the ends that the poller sees, and keeps what it knows in the database.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import Protocol

import structlog

from cambwatch.adapters.store.database import StoreUnavailableError
from cambwatch.core.cadence.estimate import Schedule, Strategy
from cambwatch.core.cadence.histogram import Completion, Durations
from cambwatch.core.cadence.model import Experience, Insight, Memory
from cambwatch.core.cadence.policy import PollPolicy
from cambwatch.core.cadence.start_order import USUAL, Turn, Turns
from cambwatch.core.lifecycle import Progress
from cambwatch.core.model import Task
from cambwatch.loops.clock import Clock
from cambwatch.loops.scheduler import Alarm

SIZE_LABEL = "size"
"""The label by which users tell tasks of one kind apart that take longer or shorter."""

SAVE_S = 60.0  # between two writes of what was learned: a crash loses that much of it
POLICIES = 64  # kept ready, each with a schedule of some 30 KB; more are made as they are asked for

log = structlog.get_logger()


class DurationBook(Protocol):
    """Where is written down how long tasks took."""

    async def memories(self) -> list[Memory]: ...
    async def keep(self, memories: Sequence[Memory], *, now: datetime) -> None: ...


def _size(task: Task) -> str | None:
    return task.labels.get(SIZE_LABEL) or None


class Learning:
    """What the poller asks before each pause, and tells of each end."""

    def __init__(
        self,
        configured: Callable[[str], PollPolicy],
        book: DurationBook,
        *,
        clock: Clock,
        kick: asyncio.Event,
        alarm: Alarm,
    ) -> None:
        self.configured = lru_cache(POLICIES)(configured)
        """How tasks of a kind are asked for as long as nothing is known of them."""
        self._book = book
        self._clock = clock
        self._kick = kick
        self._alarm = alarm
        self._experience = Experience(lambda kind: self.configured(kind).limits)
        self._policy = lru_cache(POLICIES)(self._with)
        self._standing = lru_cache(POLICIES)(self._as_things_stand)  # cleared by whatever is learned
        self._turns: defaultdict[str, Turns] = defaultdict(Turns)
        self._unsaved: dict[tuple[str, str | None], Memory] = {}
        self._stopping = False

    async def load(self) -> None:
        """Take back what was written down; what this version cannot read is learned anew."""
        for memory in await self._book.memories():
            self._standing.cache_clear()
            try:
                self._experience.remember(memory)
            except ValueError as error:
                log.warning("durations.unreadable", kind=memory.kind, size=memory.size, error=str(error))

    def policy(self, task: Task) -> PollPolicy:
        """How *task* is asked for, as things stand."""
        return self._standing(task.key.kind, _size(task))

    def began(self, task: Task, progress: Progress, *, since_s: float) -> Turn:
        """*task*, registered at *since_s* of the clock that only grows, is watched from now on."""
        now_s = self._clock.monotonic()
        return self._turns[task.key.kind].begin(_size(task), since_s, progress, now_s=now_s)

    def ended(self, task: Task, turn: Turn, completion: Completion) -> None:
        """*task* was pending at one age and had ended at another."""
        self._settle(task, turn, completion)

    def expired(self, task: Task, turn: Turn) -> None:
        """*task* was pending still at its deadline; one that somebody has set shorter than usual says nothing."""
        if task.deadline_at - task.registered_at >= self.configured(task.key.kind).deadline:
            self._experience.note_endless(task.key.kind, _size(task))
        self._settle(task, turn, None)

    def left(self, task: Task, turn: Turn) -> None:
        """*task* is watched no more, and nothing can be learned of it that was not told before."""
        self._settle(task, turn, None)

    def _settle(self, task: Task, turn: Turn, completion: Completion | None) -> None:
        kind, experience = task.key.kind, self._experience
        usual_s, now_s = experience.quantile_s(kind, USUAL), self._clock.monotonic()
        for fact in self._turns[kind].settle(turn, completion, now_s=now_s, usual_s=usual_s):
            for _, dropped in experience.learn(kind, fact):
                log.info(
                    "durations.changed", kind=kind, size=dropped, hint="tasks take longer or shorter: learned anew"
                )
        self._standing.cache_clear()

    def insights(self) -> list[Insight]:
        """What is known, by kind, and within a kind by size after the kind as a whole."""
        return [
            insight if self.configured(insight.kind).strategy is Strategy.LEARNED else insight.unused()
            for insight in self._experience.insights()
        ]

    def durations(self) -> list[tuple[str, str | None, Durations]]:
        """All that is known of how long tasks took, by kind and size, in the same order."""
        return self._experience.durations()

    async def run(self) -> None:
        """Write down what was learned, now and then, until stop() is called."""
        while not self._stopping:
            self._kick.clear()
            self._alarm.set(SAVE_S)
            await self._kick.wait()
            await self.save()

    def stop(self) -> None:
        """Write it down once more, then end."""
        self._stopping = True
        self._kick.set()

    async def save(self) -> None:
        """Write down what was learned since the last time, and what could not be written then."""
        self._unsaved |= {(memory.kind, memory.size): memory for memory in self._experience.unsaved()}
        if not self._unsaved:
            return
        saving, self._unsaved = self._unsaved, {}
        try:
            await self._book.keep(list(saving.values()), now=self._clock.now())
        except StoreUnavailableError as error:  # nothing that is promised to anybody depends on it
            self._unsaved = saving | self._unsaved
            log.warning("store.unavailable", undone="durations", error=str(error))

    def _as_things_stand(self, kind: str, size: str | None) -> PollPolicy:
        policy = self.configured(kind)
        if policy.strategy is Strategy.FIXED:
            return policy
        return self._policy(kind, self._experience.schedule(kind, size))

    def _with(self, kind: str, schedule: Schedule | None) -> PollPolicy:
        policy = self.configured(kind)
        return policy if schedule is None else replace(policy, schedule=schedule)
