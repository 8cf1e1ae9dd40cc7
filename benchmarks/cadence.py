"""
Requests per task against delay: the learned cadence, the fixed interval and what others ship.

Over families of durations that were drawn by chance, not over Camb's own, which are not known.

    python benchmarks/cadence.py

Learns as the daemon does: from what its own polls saw, under the schedule in force at
that time, one completion after the other. Then fresh tasks, the same for every
policy, are polled with what was learned. Requests are all of them, the one at the
registration and the final one included. The saving is against a fixed interval that
is tuned to the same mean delay on the same tasks, which is harder to beat than the
configured one. Answers take no time here, and none fails.

Prints tables, writes the raw numbers to benchmarks/results/cadence.json and the plot
beside it. Fixed seeds: the numbers are the same on every machine.
"""

import argparse
import json
import math
import os
import platform
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from random import Random
from time import perf_counter

from cambwatch.core.cadence import PollPolicy
from cambwatch.core.durations import Completion, Durations, bin_of
from cambwatch.core.learned import Schedule, estimate
from cambwatch.rehearsal.plot import Curve, plot
from cambwatch.rehearsal.policies import SHIPPED, along, in_step
from cambwatch.rehearsal.trial import Figures, Pupil, Sample, at_same_mean, figures, poll

RESULTS = Path(__file__).parent / "results" / "cadence.json"
INTERVAL_S = 5.0
DEADLINE_S = PollPolicy().deadline.total_seconds()
EXACT = 20_000  # durations that the oracle knows

Draw = Callable[[Random], float]


def lognormal(median_s: float, sigma: float) -> Draw:
    """Durations of a lognormal distribution."""
    return lambda dice: dice.lognormvariate(math.log(median_s), sigma)


def bimodal(dice: Random) -> float:
    """Six seconds or four minutes, give or take."""
    return dice.lognormvariate(math.log(6), 0.3) if dice.random() < 0.6 else dice.lognormvariate(math.log(240), 0.15)


FAMILIES: dict[str, Draw] = {
    "exponential": lambda dice: dice.expovariate(1 / 60),
    "lognormal 1.2": lognormal(60, 1.2),
    "lognormal 0.5": lognormal(45, 0.5),
    "lognormal 0.25": lognormal(180, 0.25),
    "shifted gamma": lambda dice: 20 + dice.gammavariate(2, 15),
    "bimodal": bimodal,
    "Pareto 1.5": lambda dice: 10 * dice.paretovariate(1.5),
}


def policy(interval_s: float = INTERVAL_S) -> PollPolicy:
    """The configuration, all but the interval as by default."""
    return PollPolicy(interval=timedelta(seconds=interval_s))


def oracle(draw: Draw, dice: Random) -> Schedule:
    """The schedule for somebody who knows the distribution, all but: by twenty thousand exact durations."""
    durations = Durations()
    form = durations.as_json()
    weights = [0] * 400
    for _ in range(EXACT):
        weights[bin_of(draw(dice))] += 1
    form |= {"completions": EXACT, "weights": [[index, weight] for index, weight in enumerate(weights) if weight]}
    return estimate(Durations.from_json(form), policy().limits).schedule


def interval_95(values: Sequence[float], dice: Random) -> list[float]:
    """The 95 % confidence interval of the mean of *values*, one of each run, by bootstrap."""
    means = sorted(statistics.fmean(dice.choices(values, k=len(values))) for _ in range(2000))
    return [round(means[50], 4), round(means[1949], 4)]


def mean_of(parts: Sequence[Figures]) -> Figures:
    """The mean over runs, figure by figure."""
    return Figures(*(round(statistics.fmean(values), 3) for values in zip(*(asdict(each).values() for each in parts))))  # noqa: B905


def past(draw: Draw, count: int, dice: Random) -> list[Sample]:
    """Durations and chances to learn from."""
    return [(draw(dice), dice.random()) for _ in range(count)]


def fresh(draw: Draw, count: int, seed: str) -> list[Sample]:
    """Durations and chances that nobody has learned from."""
    return past(draw, count, Random(f"fresh {seed}"))


def compare(name: str, draw: Draw, *, runs: int, tasks: int) -> dict[str, object]:
    """All policies on one family: what others ship once, what is learned in each of *runs*."""
    everything = [task for run in range(runs) for task in fresh(draw, tasks, f"{name} {run}")]
    policies = {
        "fixed 5 s": along(policy()),
        "fixed 5 s, in step": in_step(INTERVAL_S),
        **SHIPPED,
        "sqrt(hazard), known": along(replace(policy(), schedule=oracle(draw, Random(f"exact {name}")))),
    }
    rows: dict[str, object] = {
        label: asdict(figures(ages, everything, deadline_s=DEADLINE_S)) for label, ages in policies.items()
    }
    for completions in (30, 200, 1000):
        found, equal, learned, dropped, gains = [], [], 0, 0, []
        for run in range(runs):
            pupil = Pupil(policy())
            pupil.learn(past(draw, completions, Random(f"past {name} {run}")))
            learned += pupil.policy.schedule is not None
            dropped += pupil.alarms
            gains.append(next(pupil.experience.insights()).gain or 1.0)
            unseen = fresh(draw, tasks, f"{name} {run}")
            found.append(figures(pupil.ages, unseen, deadline_s=DEADLINE_S))
            equal.append(at_same_mean(found[-1].mean_s, unseen, deadline_s=DEADLINE_S))
        # Where the fixed interval was kept, what is lost here is only that it does not run in step with registrations.
        savings = [1 - one.requests / other.requests for one, other in zip(found, equal, strict=True)]
        p95 = [one.p95_s / other.p95_s for one, other in zip(found, equal, strict=True)]
        rows[f"learned from {completions}"] = asdict(mean_of(found)) | {
            "runs_that_learned": learned,
            "alarms": dropped,
            "estimated_gain": round(statistics.fmean(gains), 3),
            "fixed_at_same_mean": asdict(mean_of(equal)),
            "saving": round(statistics.fmean(savings), 4),
            "saving_95": interval_95(savings, Random(name)),
            "saving_worst_run": round(min(savings), 4),
            "p95_to_fixed": round(statistics.fmean(p95), 3),
            "p95_to_fixed_worst_run": round(max(p95), 3),
        }
    return rows


def frontier(name: str, draw: Draw, *, tasks: int) -> dict[str, list[list[float]]]:
    """Requests and mean delay for several intervals, fixed and learned from 200 completions."""
    curves: dict[str, list[list[float]]] = {"fixed": [], "learned": []}
    unseen = fresh(draw, tasks, f"{name} frontier")
    for interval_s in (2.5, 4.0, 6.0, 10.0, 15.0, 25.0):
        pupil = Pupil(policy(interval_s))
        pupil.learn(past(draw, 200, Random(f"past {name} frontier")))
        for label, ages in (("fixed", in_step(interval_s)), ("learned", pupil.ages)):
            cost = figures(ages, unseen, deadline_s=DEADLINE_S)
            curves[label].append([cost.mean_s, cost.requests])
    return curves


def drift(runs: int) -> dict[str, object]:
    """After 500 completions tasks take twice as long: what that costs, and how soon it is noticed."""
    rows: dict[str, object] = {}
    for name in ("lognormal 0.5", "lognormal 0.25", "exponential"):
        noticed, requests, delays, fixed_requests = [], [], [], []
        for run in range(runs):
            dice, pupil, draw = Random(f"drift {name} {run}"), Pupil(policy()), FAMILIES[name]
            pupil.learn(past(draw, 500, dice))
            before, at = pupil.alarms, None
            for count in range(1, 201):
                duration_s, chance = 2 * draw(dice), dice.random()
                polls, delay_s = pupil.watch(duration_s, chance)
                requests.append(polls)
                delays.append(delay_s or 0.0)
                fixed_requests.append(poll(along(policy())(chance), duration_s, DEADLINE_S)[0])
                if pupil.alarms > before and at is None:
                    at = count
            noticed.append(at or 201)
        rows[name] = {
            "noticed_after_median": statistics.median(noticed),
            "requests_of_200_after": round(statistics.fmean(requests), 2),
            "mean_delay_s_of_200_after": round(statistics.fmean(delays), 2),
            "fixed_requests": round(statistics.fmean(fixed_requests), 2),
        }
    return rows


def stuck() -> dict[str, object]:
    """One task in a hundred never ends: requests on those that do not, until the deadline after a day."""
    dice, pupil = Random("stuck"), Pupil(policy())
    draw = FAMILIES["lognormal 0.5"]
    costs, delays = [], []
    for _ in range(1000):
        ends = dice.random() >= 0.01
        polls, delay_s = pupil.watch(draw(dice) if ends else math.inf, dice.random())
        if delay_s is None:
            costs.append(polls)
        else:
            delays.append(delay_s)
    last = costs[-1]
    return {
        "fixed_requests_on_stuck": poll(along(policy())(0.5), math.inf, DEADLINE_S)[0],
        "learned_requests_on_last_stuck": last,
        "mean_delay_s_of_others": round(statistics.fmean(delays), 2),
    }


def false_alarms(completions: int) -> dict[str, object]:
    """How often the detector raises an alarm where nothing changed, seen by polls every five seconds."""
    rows: dict[str, object] = {}
    for name, draw in FAMILIES.items():
        dice, durations, alarms = Random(f"alarms {name}"), Durations(), 0
        for _ in range(completions):
            duration_s = draw(dice)
            shift_s = dice.random() * INTERVAL_S
            found_s = shift_s + max(math.ceil((duration_s - shift_s) / INTERVAL_S), 0) * INTERVAL_S
            alarms += durations.note(Completion(max(found_s - INTERVAL_S, 0.0), found_s))
        rows[name] = alarms
    return {"completions_each": completions, "alarms": rows}


def show(name: str, rows: dict[str, object]) -> None:
    """One family as a table."""
    print(f"\n{name:32} {'requests':>9} {'mean':>6} {'p95':>7} {'p99':>7}  saving at equal mean delay")
    for label, row in rows.items():
        assert isinstance(row, dict)
        line = f"{label:32} {row['requests']:9.2f} {row['mean_s']:6.2f} {row['p95_s']:7.2f} {row['p99_s']:7.2f}"
        if "saving" in row:
            low, high = row["saving_95"]
            line += f"  {row['saving']:6.1%} [{low:.1%}, {high:.1%}], p95 {row['p95_to_fixed']:.2f} of fixed"
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
    }
    for name in ("drift_x2", "stuck_1_percent", "false_alarms"):
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
    parser.add_argument("--runs", type=int, default=10, help="how often each family is learned anew")
    parser.add_argument("--tasks", type=int, default=2000, help="fresh tasks for each of those")
    arguments = parser.parse_args()
    main(arguments.runs, arguments.tasks)
