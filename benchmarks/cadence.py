"""
Requests per task against delay: the learned cadence, the fixed interval and what others ship.

Over families of durations that were drawn by chance, not over Camb's own, which are not known.

    python benchmarks/cadence.py

Learns as the daemon does: from what its own polls saw, under the schedule in force at
that time, one completion after the other. Then fresh tasks, the same for every
policy, are polled with what was learned, so many that a run is judged to half a percent
of its requests: the worst of several runs is then one that learned badly, and not one
that was judged by odd tasks. Requests are all of them, the one at the registration and
the final one included. The saving is against a fixed interval that is tuned to the same
mean delay on the same tasks, which is harder to beat than the configured one. Answers
take no time here, and none fails.

Prints tables, writes the raw numbers to benchmarks/results/cadence.json and the plot
beside it. Fixed seeds: the numbers are the same on every machine.
"""

import argparse
import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from time import perf_counter

from cadence_evaluation.equal_probability import equal_probability
from cadence_evaluation.lifetimes import Lifetimes
from cadence_evaluation.optimum import optimum
from cadence_evaluation.plot import Curve, plot
from cadence_evaluation.policies import SHIPPED, Ages, along, in_step
from cadence_evaluation.replay import Cost, Sample, SimulatedLearner, in_step_at_same_mean, replay
from cadence_surprises import drift, false_alarms, stuck
from cambwatch.core.cadence.estimate import PollSchedule, estimate
from cambwatch.core.cadence.histogram import DurationHistogram, bin_of
from families import DEADLINE_S, FAMILIES, INTERVAL_S, Draw, fresh, past, policy
from queues import queues

RESULTS = Path(__file__).parent / "results" / "cadence.json"
EXACT = 20_000  # durations that those know who know the distribution
LEARNED_FROM = (30, 200, 1000)
ONCE = 4  # runs whose tasks judge what is not learned


def oracle(draw: Draw, dice: Random) -> PollSchedule:
    """The schedule for somebody who knows the distribution, all but: by twenty thousand exact durations."""
    durations = DurationHistogram()
    form = durations.as_json()
    weights = [0] * 400
    for _ in range(EXACT):
        weights[bin_of(draw(dice))] += 1
    form |= {"completions": EXACT, "weights": [[index, weight] for index, weight in enumerate(weights) if weight]}
    return estimate(DurationHistogram.from_json(form), policy().limits).schedule


def lifetimes(name: str, draw: Draw) -> Lifetimes:
    """What somebody knows who knows the distribution, by the same durations."""
    dice = Random(f"exact {name}")
    return Lifetimes.of([draw(dice) for _ in range(EXACT)])


def interval_95(values: Sequence[float], dice: Random) -> list[float]:
    """The 95 % confidence interval of the mean of *values*, one of each run, by bootstrap."""
    means = sorted(statistics.fmean(dice.choices(values, k=len(values))) for _ in range(2000))
    return [round(means[50], 4), round(means[1949], 4)]


def mean_of(parts: Sequence[Cost]) -> Cost:
    """The mean over runs, figure by figure."""
    return Cost(*(round(statistics.fmean(values), 3) for values in zip(*(asdict(each).values() for each in parts))))  # noqa: B905


def knowing(lifetimes: Lifetimes, interval_s: float) -> dict[str, Ages]:
    """Policies for somebody who knows the distribution, with the mean delay of the interval."""
    limits, mean_s = policy(interval_s).limits, interval_s / 2
    return {
        "equal probability, known": equal_probability(lifetimes, limits, mean_s=mean_s),
        "optimum, known": optimum(lifetimes, limits, mean_s=mean_s),
    }


@dataclass(frozen=True, slots=True)
class Run:
    """What one learner did on tasks that it had not seen, beside the fixed interval with the same mean delay."""

    cost: Cost
    fixed: Cost
    learned: bool
    alarms: int
    gain: float

    @property
    def saving(self) -> float:
        """Of requests, as a share."""
        return 1 - self.cost.requests / self.fixed.requests

    @property
    def p95(self) -> float:
        """The 95th percentile of the delay, in those of the fixed interval."""
        return self.cost.p95_s / self.fixed.p95_s


def learn(draw: Draw, name: str, run: int, unseen: Sequence[Sample]) -> list[Run]:
    """One learner, judged after each number of LEARNED_FROM completions."""
    learner, taught, runs = SimulatedLearner(policy()), 0, []
    lessons = past(draw, LEARNED_FROM[-1], Random(f"past {name} {run}"))
    for count in LEARNED_FROM:
        learner.learn(lessons[taught:count])
        taught = count
        cost = replay(learner.ages, unseen, deadline_s=DEADLINE_S)
        fixed = in_step_at_same_mean(cost.mean_s, unseen, deadline_s=DEADLINE_S)
        gain = next(learner.experience.summaries()).gain or 1.0
        runs.append(Run(cost, fixed, learner.policy.schedule is not None, learner.alarms, gain))
    return runs


def summary(name: str, runs: Sequence[Run]) -> dict[str, object]:
    """Several runs as one row."""
    # Where the fixed interval was kept, what is lost here is only that it does not run in step with registrations.
    savings, p95 = [each.saving for each in runs], [each.p95 for each in runs]
    return asdict(mean_of([each.cost for each in runs])) | {
        "runs_that_learned": sum(each.learned for each in runs),
        "alarms": sum(each.alarms for each in runs),
        "estimated_gain": round(statistics.fmean(each.gain for each in runs), 3),
        "fixed_at_same_mean": asdict(mean_of([each.fixed for each in runs])),
        "saving": round(statistics.fmean(savings), 4),
        "saving_95": interval_95(savings, Random(name)),
        "saving_worst_run": round(min(savings), 4),
        "p95_to_fixed": round(statistics.fmean(p95), 3),
        "p95_to_fixed_95": interval_95(p95, Random(name)),
        "p95_to_fixed_worst_run": round(max(p95), 3),
    }


def compare(name: str, draw: Draw, *, runs: int, tasks: int) -> dict[str, object]:
    """All policies on one family: what others ship and who knows once, what is learned in each of *runs*."""
    unseen = [fresh(draw, tasks, f"{name} {run}") for run in range(runs)]
    everything = [task for each in unseen[:ONCE] for task in each]
    known = {
        "sqrt(hazard), known": along(replace(policy(), schedule=oracle(draw, Random(f"exact {name}")))),
        **knowing(lifetimes(name, draw), INTERVAL_S),
    }
    policies = {"fixed 5 s": along(policy()), "fixed 5 s, in step": in_step(INTERVAL_S), **SHIPPED, **known}
    rows: dict[str, object] = {}
    for label, ages in policies.items():
        cost = replay(ages, everything, deadline_s=DEADLINE_S)
        rows[label] = asdict(cost)
        if label in known:
            fixed = in_step_at_same_mean(cost.mean_s, everything, deadline_s=DEADLINE_S)
            saving = round(1 - cost.requests / fixed.requests, 4)
            rows[label] = asdict(cost) | {"fixed_at_same_mean": asdict(fixed), "saving": saving}
    learned = [learn(draw, name, run, each) for run, each in enumerate(unseen)]
    for count, judged in zip(LEARNED_FROM, zip(*learned, strict=True), strict=True):
        rows[f"learned from {count}"] = summary(name, judged)
    return rows


def frontier(name: str, draw: Draw, *, tasks: int) -> dict[str, list[list[float]]]:
    """Requests and mean delay for several intervals: fixed, learned from 200 completions, known."""
    curves: dict[str, list[list[float]]] = {}
    unseen, exact = fresh(draw, tasks, f"{name} frontier"), lifetimes(name, draw)
    for interval_s in (2.5, 4.0, 6.0, 10.0, 15.0, 25.0):
        learner = SimulatedLearner(policy(interval_s))
        learner.learn(past(draw, 200, Random(f"past {name} frontier")))
        policies = {"fixed": in_step(interval_s), "learned": learner.ages, **knowing(exact, interval_s)}
        for label, ages in policies.items():
            cost = replay(ages, unseen, deadline_s=DEADLINE_S)
            curves.setdefault(label, []).append([cost.mean_s, cost.requests])
    return curves


def show(name: str, rows: dict[str, object]) -> None:
    """One family as a table."""
    print(f"\n{name:32} {'requests':>9} {'mean':>6} {'p95':>7} {'p99':>7}  saving at equal mean delay")
    for label, row in rows.items():
        assert isinstance(row, dict)
        line = f"{label:32} {row['requests']:9.2f} {row['mean_s']:6.2f} {row['p95_s']:7.2f} {row['p99_s']:7.2f}"
        if "saving" in row:
            line += f"  {row['saving']:6.1%}"
        if "saving_95" in row:
            low, high = row["saving_95"]
            line += f" [{low:.1%}, {high:.1%}], in the worst run {row['saving_worst_run']:.1%};"
            line += f" p95 {row['p95_to_fixed']:.2f}, in the worst {row['p95_to_fixed_worst_run']:.2f} of fixed"
        print(line)


def main(runs: int, tasks: int) -> None:
    """Measure, print, write down."""
    started = perf_counter()
    families, curves = {}, {}
    for name, draw in FAMILIES.items():
        families[name] = compare(name, draw, runs=runs, tasks=tasks)
        show(name, families[name])
        curves[name] = frontier(name, draw, tasks=tasks)
    measured: dict[str, object] = {
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.system()},
        "runs": runs,
        "tasks_per_run": tasks,
        "families": families,
        "frontier_mean_delay_s_and_requests": curves,
        "drift_x2": drift(runs),
        "stuck_1_percent": stuck(),
        "false_alarms": false_alarms(30_000),
        "queues": queues(),
    }
    for name in ("drift_x2", "stuck_1_percent", "false_alarms", "queues"):
        print(f"\n{name}", json.dumps(measured[name], indent=2))
    measured["took_s"] = round(perf_counter() - started, 1)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(measured, indent=2) + "\n")
    panels = {
        name: [Curve(label, [(x, y) for x, y in points]) for label, points in found.items()]
        for name, found in curves.items()
    }
    RESULTS.with_suffix(".svg").write_text(plot(panels))
    print(f"\nwritten to {RESULTS} and {RESULTS.with_suffix('.svg').name} after {measured['took_s']} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=16, help="how often each family is learned anew")
    parser.add_argument("--tasks", type=int, default=25_000, help="fresh tasks for each of those")
    arguments = parser.parse_args()
    main(arguments.runs, arguments.tasks)
