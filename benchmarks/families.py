"""Families of durations that tasks may take, and tasks drawn from them; not Camb's own, which are not known."""

import math
from collections.abc import Callable
from datetime import timedelta
from random import Random

from cadence_evaluation.replay import Sample
from cambwatch.core.cadence.policy import PollPolicy

INTERVAL_S = 5.0
DEADLINE_S = PollPolicy().deadline.total_seconds()
CHANCES = 256  # tasks with the same chance are asked for at the same ages, which are then found once

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


def past(draw: Draw, count: int, dice: Random) -> list[Sample]:
    """Durations and chances to learn from."""
    return [(draw(dice), dice.random()) for _ in range(count)]


def fresh(draw: Draw, count: int, seed: str) -> list[Sample]:
    """Durations and chances that nobody has learned from."""
    dice = Random(f"fresh {seed}")
    return [(draw(dice), (dice.randrange(CHANCES) + 0.5) / CHANCES) for _ in range(count)]
