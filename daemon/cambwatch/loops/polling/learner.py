"""
When to ask for the tasks of each kind: as configured, and better as soon as it is known how long they take.

Learns from the ends that the poller sees, and keeps what it knows in the database.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import Protocol

import structlog

from cambwatch.adapters.store.database import StoreUnavailableError
from cambwatch.core.cadence.cadence_model import CadenceModel, CadenceSummary, SavedDurations
from cambwatch.core.cadence.estimate import PollSchedule, Strategy
from cambwatch.core.cadence.histogram import Completion, DurationHistogram
from cambwatch.core.cadence.policy import PollPolicy
from cambwatch.core.cadence.start_order import USUAL_QUANTILE, StartEntry, StartOrder
from cambwatch.core.lifecycle import Progress
from cambwatch.core.model import Task
from cambwatch.loops.scheduler import Clock

SIZE_LABEL = "size"
"""The label by which users separate long from short tasks of one kind."""

SAVE_EVERY_S = 60.0  # between two writes of what was learned: a crash loses that much of it
CACHED_POLICIES = 64  # kept ready, each with a schedule of some 30 KB; more are made as they are asked for

log = structlog.get_logger()


class DurationHistogramStore(Protocol):
    """Where is written down how long tasks took."""

    async def saved_durations(self) -> list[SavedDurations]: ...
    async def save_durations(self, saved_durations: Sequence[SavedDurations], *, now: datetime) -> None: ...


def _size(task: Task) -> str | None:
    return task.labels.get(SIZE_LABEL) or None


class CadenceLearner:
    """Gives the poller the policy of each task, and learns from each completion."""

    def __init__(
        self,
        configured: Callable[[str], PollPolicy],
        store: DurationHistogramStore,
        *,
        clock: Clock,
    ) -> None:
        self.configured = lru_cache(CACHED_POLICIES)(configured)
        """How tasks of a kind are asked for as long as nothing is known of them."""
        self._store = store
        self._clock = clock
        self._model = CadenceModel(lambda kind: self.configured(kind).limits)
        self._cached_scheduled_policy = lru_cache(CACHED_POLICIES)(self._scheduled_policy)
        self._cached_policy = lru_cache(CACHED_POLICIES)(self._current_policy)  # cleared by whatever is learned
        self._start_orders: defaultdict[str, StartOrder] = defaultdict(StartOrder)
        self._unsaved: dict[tuple[str, str | None], SavedDurations] = {}

    async def load(self) -> None:
        """Take back what was written down; what this version cannot read is learned again."""
        for saved in await self._store.saved_durations():
            self._cached_policy.cache_clear()
            try:
                self._model.restore(saved)
            except ValueError as error:
                log.warning("durations.unreadable", kind=saved.kind, size=saved.size, error=str(error))

    def policy(self, task: Task) -> PollPolicy:
        """How *task* is asked for, as things stand."""
        return self._cached_policy(task.key.kind, _size(task))

    def task_watched(self, task: Task, progress: Progress, *, since_s: float) -> StartEntry:
        """*task*, registered at *since_s* of the clock that only grows, is watched from now on."""
        now_s = self._clock.monotonic()
        return self._start_orders[task.key.kind].add(_size(task), since_s, progress, now_s=now_s)

    def task_finished(self, task: Task, start_entry: StartEntry, completion: Completion) -> None:
        """*task* was pending at one age and had ended at another."""
        self._close_entry(task, start_entry, completion)

    def task_expired(self, task: Task, start_entry: StartEntry) -> None:
        """*task* was pending still at its deadline; one that somebody has set shorter than usual says nothing."""
        if task.deadline_at - task.registered_at >= self.configured(task.key.kind).deadline:
            self._model.record_expired(task.key.kind, _size(task))
        self._close_entry(task, start_entry, None)

    def task_dropped(self, task: Task, start_entry: StartEntry) -> None:
        """*task* is not watched any more, and nothing further can be learned from it."""
        self._close_entry(task, start_entry, None)

    def _close_entry(self, task: Task, start_entry: StartEntry, completion: Completion | None) -> None:
        kind, model = task.key.kind, self._model
        usual_s, now_s = model.quantile_s(kind, USUAL_QUANTILE), self._clock.monotonic()
        for observation in self._start_orders[kind].close(start_entry, completion, now_s=now_s, usual_s=usual_s):
            for _, dropped in model.learn(kind, observation):
                log.info(
                    "durations.changed",
                    kind=kind,
                    size=dropped,
                    hint="tasks take longer or shorter than before: cambwatch learns their durations again",
                )
        self._cached_policy.cache_clear()

    def summaries(self) -> list[CadenceSummary]:
        """What is known, by kind, and within a kind by size after the kind as a whole."""
        return [
            summary if self.configured(summary.kind).strategy is Strategy.LEARNED else summary.with_fixed_interval()
            for summary in self._model.summaries()
        ]

    def durations(self) -> list[tuple[str, str | None, DurationHistogram]]:
        """All that is known of how long tasks took, by kind and size, in the same order."""
        return self._model.durations()

    async def save(self) -> None:
        """Write down what was learned since the last time, and what could not be written then; every SAVE_EVERY_S."""
        self._unsaved |= {(saved.kind, saved.size): saved for saved in self._model.unsaved()}
        if not self._unsaved:
            return
        saving, self._unsaved = self._unsaved, {}
        try:
            await self._store.save_durations(list(saving.values()), now=self._clock.now())
        except StoreUnavailableError as error:  # nothing that is promised to anybody depends on it
            self._unsaved = saving | self._unsaved
            log.warning("store.unavailable", operation="durations", error=str(error))

    def _current_policy(self, kind: str, size: str | None) -> PollPolicy:
        policy = self.configured(kind)
        if policy.strategy is Strategy.FIXED:
            return policy
        return self._cached_scheduled_policy(kind, self._model.schedule(kind, size))

    def _scheduled_policy(self, kind: str, schedule: PollSchedule | None) -> PollPolicy:
        policy = self.configured(kind)
        return policy if schedule is None else replace(policy, schedule=schedule)
