"""
All policies on the same tasks: what each costs, and what a fixed interval with the same mean delay costs.

What the learner learns from never judges it. Of a list, it learns from the first 70 %,
and the rest is smoothed into the distribution that judges. A histogram has no order, so
it judges as a whole, and the learner learns from tasks drawn from it, as many as were
observed. Tasks spread evenly over that distribution judge every policy.

"equal probability" and "optimum" know that distribution, and are tuned to the mean
delay of "learned". So nothing that cambwatch could learn saves more than "optimum"
at that delay: the difference is what learning has yet to gain.
"""

from dataclasses import asdict, dataclass, replace
from random import Random

from cadence_evaluation.durations_file import DurationBins, ObservedDurations
from cadence_evaluation.equal_probability import equal_probability
from cadence_evaluation.lifetimes import Lifetimes, counted
from cadence_evaluation.optimum import optimum
from cadence_evaluation.plot import Curve
from cadence_evaluation.policies import SHIPPED, Ages, along
from cadence_evaluation.replay import Cost, Sample, SimulatedLearner, out_of_step_at_same_mean, replay
from cambwatch.core.cadence.policy import PollPolicy

FEWEST_LEARNED = 30  # as many as cambwatch itself needs
FEWEST_JUDGING = 30
FEWEST_OBSERVED = FEWEST_LEARNED + FEWEST_JUDGING
LEARNED_SHARE = 0.7  # of a list, if the rest is enough to judge by
MOST_DRAWN = 1000  # what cambwatch remembers of older tasks has faded
JUDGING_TASKS = 4096
CHANCES = 64  # tasks with the same chance are polled at the same ages
GOLDEN = (5**0.5 - 1) / 2  # its multiples fill [0, 1) evenly
SWEEP = (0.5, 0.8, 1.25, 2.0, 3.0, 5.0)  # times the interval, for the curves


@dataclass(frozen=True, slots=True)
class Row:
    """What a policy costs, and what a fixed interval with the same mean delay costs."""

    cost: Cost
    fixed: Cost

    @property
    def saving(self) -> float:
        """The share of the requests of the fixed interval that the policy saves; negative if it makes more."""
        return 1 - self.cost.requests / self.fixed.requests

    def as_json(self) -> dict[str, object]:
        return asdict(self.cost) | {"fixed_at_same_mean": asdict(self.fixed), "saving": round(self.saving, 4)}


@dataclass(frozen=True, slots=True)
class Comparison:
    """The policies by name; *pays*: whether cambwatch would use what it learned, or keep the fixed interval."""

    rows: dict[str, Row]
    pays: bool


class TaskSamples:
    """Tasks to learn from, and tasks that judge, for durations of which FEWEST_OBSERVED or more were observed."""

    def __init__(self, observed: ObservedDurations) -> None:
        if isinstance(observed, DurationBins):
            self.lifetimes = Lifetimes.smoothed(observed.weights, count=observed.observed)
            dice = Random(observed.label)
            past = [self.lifetimes.age_s(dice.random()) for _ in range(min(observed.observed, MOST_DRAWN))]
        else:
            cut = min(int(observed.observed * LEARNED_SHARE), observed.observed - FEWEST_JUDGING)
            past, judging = list(observed.seconds[:cut]), observed.seconds[cut:]
            self.lifetimes = Lifetimes.smoothed(counted(judging), count=len(judging))
        self.past: list[Sample] = [(duration_s, index * GOLDEN % 1) for index, duration_s in enumerate(past)]
        self.judging: list[Sample] = [
            (
                self.lifetimes.age_s((index + 0.5) / JUDGING_TASKS),
                (int(index * GOLDEN % 1 * CHANCES) + 0.5) / CHANCES,
            )
            for index in range(JUDGING_TASKS)
        ]


def why_not_judged(observed: ObservedDurations, policy: PollPolicy) -> str | None:
    """What is wrong with *observed* and what to do, if any comparison would say more about chance than about tasks."""
    if observed.observed < FEWEST_OBSERVED:
        return (
            f"too few to judge by: the evaluation learns from {FEWEST_LEARNED} at least and judges by another "
            f"{FEWEST_JUDGING}. Collect {FEWEST_OBSERVED - observed.observed} more"
        )
    deadline_s = policy.deadline.total_seconds()
    if TaskSamples(observed).lifetimes.ended(deadline_s) < 0.5:
        return f"most take longer than --deadline, {deadline_s:g} s. Give the deadline of your configuration"
    return None


def compare(observed: ObservedDurations, policy: PollPolicy) -> Comparison:
    """What *policy*, learned and fixed, and its alternatives cost on tasks like *observed*; see why_not_judged()."""
    samples, deadline_s = TaskSamples(observed), policy.deadline.total_seconds()
    learner = SimulatedLearner(policy)
    learner.learn(samples.past)
    learned = replay(learner.ages, samples.judging, deadline_s=deadline_s)
    known = _knowing(samples.lifetimes, policy, mean_s=learned.mean_s)
    policies = {f"fixed {policy.interval.total_seconds():g} s": along(policy), "learned": learner.ages}
    rows = {}
    for name, ages in {**policies, **known, **SHIPPED}.items():
        cost = replay(ages, samples.judging, deadline_s=deadline_s)
        rows[name] = Row(cost, out_of_step_at_same_mean(cost.mean_s, samples.judging, deadline_s=deadline_s))
    return Comparison(rows, pays=learner.policy.schedule is not None)


def curves(observed: ObservedDurations, policy: PollPolicy, rows: dict[str, Row]) -> list[Curve]:
    """Requests over mean delay for several intervals, and the single points of *rows* that others ship."""
    samples, deadline_s = TaskSamples(observed), policy.deadline.total_seconds()
    points: dict[str, list[tuple[float, float]]] = {}
    for times in SWEEP:
        swept = replace(policy, interval=policy.interval * times)
        learner = SimulatedLearner(swept)
        learner.learn(samples.past)
        mean_s = replay(learner.ages, samples.judging, deadline_s=deadline_s).mean_s
        policies = {
            "fixed": along(swept),
            "learned": learner.ages,
            **_knowing(samples.lifetimes, swept, mean_s=mean_s),
        }
        for name, ages in policies.items():
            cost = replay(ages, samples.judging, deadline_s=deadline_s)
            points.setdefault(name, []).append((cost.mean_s, cost.requests))
    widest_s = max(mean_s for curve in points.values() for mean_s, _ in curve)
    shipped = sorted((row.cost.mean_s, row.cost.requests) for name, row in rows.items() if name in SHIPPED)
    near = [point for point in shipped if point[0] <= widest_s]
    found = [Curve(name, sorted(curve)) for name, curve in points.items()]
    return [*found, *([Curve("what others ship", near, joined=False)] if near else [])]


def _knowing(lifetimes: Lifetimes, policy: PollPolicy, *, mean_s: float) -> dict[str, Ages]:
    return {
        "equal probability": equal_probability(lifetimes, policy.limits, mean_s=mean_s),
        "optimum": optimum(lifetimes, policy.limits, mean_s=mean_s),
    }
