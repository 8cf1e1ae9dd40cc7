"""
Replaying tasks under a polling policy, and what that costs.

Requests include the one at the registration and the final one. Here replies take no
time, and none fails.
"""

import math
import statistics
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter

from cadence_evaluation.policies import Ages, along, in_step, out_of_step
from cambwatch.core.cadence.cadence_model import CadenceModel
from cambwatch.core.cadence.histogram import Completion
from cambwatch.core.cadence.policy import PollPolicy
from cambwatch.core.cadence.start_order import OrderedCompletion

KIND = "any"

Sample = tuple[float, float]
"""How long a task takes in seconds, and a number in [0, 1) that shifts its polls."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Requests per task, and delays in seconds from the moment a task finishes until a poll sees it."""

    requests: float
    mean_s: float
    p50_s: float
    p95_s: float
    p99_s: float
    max_s: float


def poll(ages: Iterator[float], duration_s: float, deadline_s: float) -> tuple[int, float, float | None]:
    """Requests, the age when last seen pending, and the age when seen finished (None: not by the deadline)."""
    requests, pending_s = 1, 0.0  # the poll at the registration
    for age_s in ages:
        requests += 1
        if age_s >= duration_s:
            return requests, pending_s, age_s
        if age_s >= deadline_s:
            break
        pending_s = age_s
    return requests, pending_s, None


def replay(ages: Ages, tasks: Sequence[Sample], *, deadline_s: float) -> Cost:
    """What *tasks*, one at least, cost when they are polled at *ages*."""
    requests, delays = 0, []
    for chance, group in groupby(sorted(tasks, key=itemgetter(1)), key=itemgetter(1)):
        coming, polled_s = ages(chance), [-math.inf]  # as far as any task of the group needs it
        for duration_s, _ in group:
            end_s = min(duration_s, deadline_s)
            while polled_s[-1] < end_s:
                polled_s.append(next(coming))
            index = bisect_left(polled_s, end_s, 1)
            requests += 1 + index
            delays.append((polled_s[index] if polled_s[index] >= duration_s else deadline_s) - end_s)
    delays.sort()

    def share(part: float) -> float:
        return round(delays[int(part * len(delays))], 3)

    return Cost(
        requests=round(requests / len(tasks), 4),
        mean_s=round(statistics.fmean(delays), 4),
        p50_s=share(0.5),
        p95_s=share(0.95),
        p99_s=share(0.99),
        max_s=round(delays[-1], 3),
    )


def in_step_at_same_mean(mean_s: float, tasks: Sequence[Sample], *, deadline_s: float) -> Cost:
    """The fixed interval, in step with registrations, that has *mean_s* as its mean delay on the same *tasks*."""
    low_s, high_s = mean_s / 2, mean_s * 8
    durations = [min(duration_s, deadline_s) for duration_s, _ in tasks]
    for _ in range(20):
        interval_s = (low_s + high_s) / 2
        delay_s = statistics.fmean(math.ceil(age_s / interval_s) * interval_s - age_s for age_s in durations)
        low_s, high_s = (interval_s, high_s) if delay_s < mean_s else (low_s, interval_s)
    return replay(in_step(low_s), tasks, deadline_s=deadline_s)


def out_of_step_at_same_mean(mean_s: float, tasks: Sequence[Sample], *, deadline_s: float) -> Cost:
    """
    The fixed interval as cambwatch polls at it, with *mean_s* (> 0) as its mean delay on the same *tasks*.

    In step, durations that vary by less than an interval would make its delay jump, and
    any policy look as good or bad as chance has it.
    """

    def delay_s(interval_s: float, duration_s: float, chance: float) -> float:
        first_s = interval_s * (1.5 - chance)
        return first_s + max(math.ceil((duration_s - first_s) / interval_s), 0) * interval_s - duration_s

    low_s, high_s = mean_s / 2, mean_s * 8
    ends = [(min(duration_s, deadline_s), chance) for duration_s, chance in tasks]
    for _ in range(20):
        interval_s = (low_s + high_s) / 2
        found_s = statistics.fmean(delay_s(interval_s, *end) for end in ends)
        low_s, high_s = (interval_s, high_s) if found_s < mean_s else (low_s, interval_s)
    return replay(out_of_step(low_s), tasks, deadline_s=deadline_s)


class SimulatedLearner:
    """
    What cambwatch learns from tasks of one kind, without the waiting.

    It learns from what its own polls saw, under the schedule in force at that time, one
    completion after the other.
    """

    def __init__(self, policy: PollPolicy) -> None:
        self._configured = policy
        self._deadline_s = policy.deadline.total_seconds()
        self.experience = CadenceModel(lambda _: policy.limits)
        self.alarms = 0
        """How often the detector took the durations to have changed."""

    @property
    def policy(self) -> PollPolicy:
        """With what it has learned so far."""
        return replace(self._configured, schedule=self.experience.schedule(KIND))

    @property
    def ages(self) -> Ages:
        """When it polls, with what it has learned so far."""
        return along(self.policy)

    def watch(self, duration_s: float, chance: float) -> tuple[int, float | None]:
        """Learn from one task; returns its requests, and the delay until it was seen finished (None: never)."""
        requests, pending_s, found_s = poll(self.ages(chance), duration_s, self._deadline_s)
        if found_s is None:
            self.experience.record_expired(KIND, None)
            return requests, None
        self.alarms += bool(self.experience.learn(KIND, OrderedCompletion(None, Completion(pending_s, found_s))))
        return requests, found_s - duration_s

    def learn(self, tasks: Sequence[Sample]) -> None:
        """Watch *tasks*, one after the other."""
        for duration_s, chance in tasks:
            self.watch(duration_s, chance)
