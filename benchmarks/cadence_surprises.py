"""The learned cadence where durations change, where tasks never end, and how often it sees a change that is none."""

import math
import statistics
from random import Random

from cadence_evaluation.policies import along
from cadence_evaluation.replay import SimulatedLearner, poll
from cambwatch.core.cadence.histogram import Completion, DurationHistogram
from families import DEADLINE_S, FAMILIES, INTERVAL_S, past, policy


def drift(runs: int) -> dict[str, object]:
    """After 500 completions tasks take twice as long: what that costs, and how soon it is noticed."""
    rows: dict[str, object] = {}
    for name in ("lognormal 0.5", "lognormal 0.25", "exponential"):
        noticed, requests, delays, fixed_requests = [], [], [], []
        for run in range(runs):
            dice, learner, draw = Random(f"drift {name} {run}"), SimulatedLearner(policy()), FAMILIES[name]
            learner.learn(past(draw, 500, dice))
            before, at = learner.alarms, None
            for count in range(1, 201):
                duration_s, chance = 2 * draw(dice), dice.random()
                polls, delay_s = learner.watch(duration_s, chance)
                requests.append(polls)
                delays.append(delay_s or 0.0)
                fixed_requests.append(poll(along(policy())(chance), duration_s, DEADLINE_S)[0])
                if learner.alarms > before and at is None:
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
    dice, learner = Random("stuck"), SimulatedLearner(policy())
    draw = FAMILIES["lognormal 0.5"]
    costs, delays = [], []
    for _ in range(1000):
        ends = dice.random() >= 0.01
        polls, delay_s = learner.watch(draw(dice) if ends else math.inf, dice.random())
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
        dice, durations, alarms = Random(f"alarms {name}"), DurationHistogram(), 0
        for _ in range(completions):
            duration_s = draw(dice)
            shift_s = dice.random() * INTERVAL_S
            found_s = shift_s + max(math.ceil((duration_s - shift_s) / INTERVAL_S), 0) * INTERVAL_S
            alarms += durations.record(Completion(max(found_s - INTERVAL_S, 0.0), found_s))
        rows[name] = alarms
    return {"completions_each": completions, "alarms": rows}
