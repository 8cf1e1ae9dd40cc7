"""Polling policies, as the ages at which a task is polled: those of cambwatch, and those that others ship."""

import math
from collections.abc import Callable, Iterator
from datetime import timedelta
from random import Random

from cambwatch.core.cadence.policy import PollPolicy

Ages = Callable[[float], Iterator[float]]
"""Endless ages in seconds, from the registration on, at which a task is polled; by its chance, a number in [0, 1)."""


def along(policy: PollPolicy) -> Ages:
    """As cambwatch polls under *policy*: at the interval, or by the schedule that it learned."""

    def ages(chance: float) -> Iterator[float]:
        age_s = policy.first_pause(chance=chance).total_seconds()
        while True:
            yield age_s
            age_s += policy.pause(timedelta(seconds=age_s)).total_seconds()

    return ages


def out_of_step(interval_s: float) -> Ages:
    """Every *interval_s*, after a first pause that chance makes up to half an interval shorter or longer."""

    def ages(chance: float) -> Iterator[float]:
        age_s = interval_s * (1.5 - chance)
        while True:
            yield age_s
            age_s += interval_s

    return ages


def in_step(interval_s: float) -> Ages:
    """Every *interval_s* from the registration on, whatever the chance."""

    def ages(_chance: float) -> Iterator[float]:
        age_s = 0.0
        while True:
            age_s += interval_s
            yield age_s

    return ages


def backoff(first_s: float, factor: float, longest_s: float, *, jitter: float = 0.0) -> Ages:
    """Pauses that grow; *jitter* 1: each anything from nothing to the full pause."""

    def ages(chance: float) -> Iterator[float]:
        dice, age_s, pause_s = Random(chance), 0.0, first_s
        while True:
            age_s += pause_s * (1 - jitter * dice.random())
            yield age_s
            pause_s = min(pause_s * factor, longest_s)

    return ages


def growing(power: float, share: float, *, shortest_s: float, longest_s: float) -> Ages:
    """Pauses of *share* times the age to the *power*, within limits: 1/2 or 1, say."""

    def ages(_chance: float) -> Iterator[float]:
        age_s = 0.0
        while True:
            age_s += min(max(share * math.pow(age_s, power), shortest_s), longest_s)
            yield age_s

    return ages


SHIPPED: dict[str, Ages] = {
    "1 s x 1.5 up to 20 s": backoff(1, 1.5, 20),
    "1 s x 2 up to 60 s": backoff(1, 2, 60),
    "2 s x 2 up to 120 s, full jitter": backoff(2, 2, 120, jitter=1),
    "a tenth of the age": growing(1, 0.1, shortest_s=1, longest_s=120),
    "root of the age": growing(0.5, 1, shortest_s=1, longest_s=120),
}
"""What libraries do by default, and what people write by hand."""
