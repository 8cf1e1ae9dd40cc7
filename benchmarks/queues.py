"""
The learned cadence where tasks that begin together wait for a few workers: each takes longer than the one before.

All of them are watched at once, as the daemon does, in time that does not pass: what
is learned from the first is in force for those that are asked for next.
"""

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from cambwatch.core.cadence.cadence_model import CadenceModel
from cambwatch.core.cadence.histogram import Completion
from cambwatch.core.cadence.policy import PollPolicy
from cambwatch.core.cadence.start_order import USUAL_QUANTILE, StartEntry, StartOrder
from families import policy

KIND = "any"
WAVES = 5
APART_S = 3600.0
WORKERS = (1, 4, 20)
TASKS = (100, 300, 1000)  # in all waves together


@dataclass(slots=True)
class Watched:
    """A task under way, and what its polls have shown."""

    since_s: float
    ends_s: float
    pending_at_s: float | None = None
    start_entry: StartEntry | None = None


def queue(tasks: int, workers: int, dice: Random) -> list[tuple[float, float]]:
    """When each of *tasks* begins and when it ends, all registered in WAVES waves and served in that order."""
    found = []
    for wave in range(WAVES):
        free_s = [wave * APART_S] * workers
        for number in range(tasks // WAVES):
            ends_s = free_s[0] + dice.lognormvariate(math.log(45), 0.5)
            heapq.heapreplace(free_s, ends_s)
            found.append((wave * APART_S + number / 1000, ends_s))
    return found


def watch(tasks: Sequence[tuple[float, float]], *, learn: bool, dice: Random) -> tuple[float, float]:
    """Requests for each of *tasks*, given as (begins, ends) in seconds, and the mean delay in seconds."""
    configured: PollPolicy = policy()
    experience, start_order = CadenceModel(lambda _: configured.limits), StartOrder()
    requests, delays = 0, []
    due = [(begins_s, number, Watched(begins_s, ends_s)) for number, (begins_s, ends_s) in enumerate(tasks)]
    heapq.heapify(due)
    while due:
        now_s, number, task = heapq.heappop(due)
        requests += 1
        age_s = now_s - task.since_s
        held = replace(configured, schedule=experience.schedule(KIND)) if learn else configured
        if task.start_entry is None:
            task.start_entry = start_order.add(None, now_s, task, now_s=now_s)
            pause_s = held.first_pause(chance=dice.random()).total_seconds()
        elif now_s < task.ends_s:
            pause_s = held.pause_s(age_s)
        else:
            delays.append(now_s - task.ends_s)
            completion, usual_s = (
                Completion(task.pending_at_s or 0.0, age_s),
                experience.quantile_s(KIND, USUAL_QUANTILE),
            )
            for fact in start_order.close(task.start_entry, completion, now_s=now_s, usual_s=usual_s):
                experience.learn(KIND, fact)
            continue
        task.pending_at_s = age_s
        heapq.heappush(due, (now_s + pause_s, number, task))
    return requests / len(tasks), sum(delays) / len(tasks)


def queues() -> dict[str, object]:
    """What the learned cadence costs there, beside the fixed interval."""
    rows: dict[str, object] = {}
    for workers in WORKERS:
        for count in TASKS:
            tasks = queue(count, workers, Random(f"queue {workers} {count}"))
            fixed = watch(tasks, learn=False, dice=Random(count))
            learned = watch(tasks, learn=True, dice=Random(count))
            rows[f"{count} tasks, {workers} workers"] = {
                "fixed_requests": round(fixed[0], 2),
                "fixed_mean_delay_s": round(fixed[1], 2),
                "learned_requests": round(learned[0], 2),
                "learned_mean_delay_s": round(learned[1], 2),
            }
    return rows
