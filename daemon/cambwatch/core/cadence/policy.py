"""When to ask Camb again."""

from dataclasses import dataclass, replace
from datetime import timedelta
from math import inf

from cambwatch.core.cadence.estimate import PollLimits, PollSchedule, Strategy
from cambwatch.core.delivery.retry import Backoff


@dataclass(frozen=True, slots=True)
class PollPolicy:
    """
    How tasks of one kind are asked for.

    *interval* lies between *min_interval* and *max_interval*. A 404 for a task that Camb
    has never known means "not yet there" until *not_found_grace* has gone by. Where
    the *strategy* is to learn, and something was learned, *schedule* says the pauses;
    without one, it is the interval.
    """

    interval: timedelta = timedelta(seconds=5)
    min_interval: timedelta = timedelta(seconds=1)
    max_interval: timedelta = timedelta(minutes=2)
    deadline: timedelta = timedelta(hours=24)
    not_found_grace: timedelta = timedelta(minutes=2)
    strategy: Strategy = Strategy.LEARNED
    schedule: PollSchedule | None = None

    @property
    def limits(self) -> PollLimits:
        """What a schedule has to keep to."""
        spans = (self.interval, self.min_interval, self.max_interval, self.deadline)
        return PollLimits(*(span.total_seconds() for span in spans))

    def with_fixed_interval(self) -> "PollPolicy":
        """The same at the fixed interval: for a task that may not be one of those that were learned from."""
        return self if self.schedule is None else replace(self, schedule=None)

    def pause(self, age: timedelta) -> timedelta:
        """The pause after an answer that leaves a task pending that was registered *age* ago."""
        return self.interval if self.schedule is None else self.schedule.pause(age)

    def pause_s(self, age_s: float) -> float:
        """The same in seconds, for who needs many."""
        if self.schedule is None:
            return self.interval.total_seconds()
        return self.schedule.pause(timedelta(seconds=age_s)).total_seconds()

    def first_pause(self, *, chance: float) -> timedelta:
        """
        The pause after the first answer, up to half a pause shorter or longer by *chance* in [0, 1).

        Tasks that were registered together would else be asked for together ever after.
        """
        if self.schedule is not None:
            return self.schedule.first_pause(chance=chance)
        # In the mean the interval, so that chance costs no polls; within the limits like any other pause.
        shortest, longest = min(self.min_interval, self.interval), max(self.max_interval, self.interval)
        return min(max(self.interval * (1.5 - chance), shortest), longest)

    def pause_after_trouble(self, failures: int, *, age: timedelta, chance: float) -> timedelta:
        """
        The pause after the *failures*-th answer in a row that says nothing about a task, registered *age* ago.

        Starts at the interval and doubles; never shorter than the usual pause, because
        a Camb in trouble must not be asked more often than a healthy one.
        """
        longest = max(self.max_interval, self.interval)
        return max(Backoff(self.interval, 2, longest).pause(failures, chance=chance), self.pause(age))


SLOWDOWN_FACTOR = 0.5  # what is left of the rate after a slow_down()
MIN_RATE_SHARE = 1 / 64  # of the rate: as slow as several can make it
RECOVERY_S = 60.0  # in which a rate of nothing would come back, evenly
SLOWDOWN_DEBOUNCE_S = 1.0  # within which a slow_down() is for the same reason as the last


class TokenBucket:
    """
    A budget of *per_second* (> 0) tokens, of which at most *burst* (>= 1) wait unused.

    Can be slowed down, and then recovers by itself: halved at once and given back evenly,
    which is what makes many that share one limit share it fairly (D.-M. Chiu and R. Jain
    1989, "Analysis of the Increase and Decrease Algorithms for Congestion Avoidance").
    Time is an argument: seconds of any clock that never goes back; one that does buys nothing.
    """

    # Held as the instant of the next token, not as a number of tokens: a sum of fractions may
    # end a hair below one at the very instant for which take() was promised to succeed.
    __slots__ = ("_burst", "_next_s", "_per_second", "_slowed_s", "_slowed_share")

    def __init__(self, per_second: float, *, burst: float, now_s: float) -> None:
        self._per_second = per_second
        self._burst = burst
        self._slowed_s = -inf
        self._slowed_share = 1.0  # the share of the rate that was left then
        self._next_s = now_s - self._burst_s

    @property
    def ready_s(self) -> float:
        """From when on take() succeeds, unless somebody else takes or reserves before."""
        return self._next_s

    def change_rate(self, per_second: float, *, burst: float, now_s: float) -> None:
        """
        From now on *per_second* (> 0) tokens, of which at most *burst* (>= 1) wait unused.

        What is there stays there, up to the new burst, and what is owed is owed still,
        token for token; a slow_down() is recovered from as before.
        """
        token_s = max(self._next_s, now_s - self._burst_s)
        tokens = (now_s - token_s) / self._token_interval_s(now_s)  # but for the one that is there or comes next
        self._per_second, self._burst = per_second, burst
        self._next_s = now_s - tokens * self._token_interval_s(
            now_s
        )  # more than the new burst is cut where it is looked at

    def share(self, now_s: float) -> float:
        """How much of the rate there is, in (0, 1]; 1 where nothing has slowed it down lately."""
        return min(self._slowed_share + (now_s - self._slowed_s) / RECOVERY_S, 1.0)

    def slow_down(self, now_s: float) -> None:
        """Halve the rate, unless that was done within the last second: many may hear of one reason."""
        if now_s - self._slowed_s < SLOWDOWN_DEBOUNCE_S:
            return
        self._slowed_share = max(self.share(now_s) * SLOWDOWN_FACTOR, MIN_RATE_SHARE)
        self._slowed_s = now_s
        self._next_s = max(self._next_s, now_s + self._token_interval_s(now_s))  # what was saved up is gone

    def wait_s(self, now_s: float) -> float:
        """Seconds until a token is there; 0 when take() would succeed now."""
        return max(self._next_s - now_s, 0.0)

    def tokens_left(self, now_s: float) -> float:
        """
        How many tokens are there, with the part of the next that has come together.

        0 while some are owed; never more than the burst, whatever a sum of fractions says.
        """
        token_s = max(self._next_s, now_s - self._burst_s)
        return min(max(1 + (now_s - token_s) / self._token_interval_s(now_s), 0.0), self._burst)

    def take(self, now_s: float) -> bool:
        """Take one token; False, and nothing taken, where there is none."""
        if self._next_s > now_s:
            return False
        self.reserve(now_s)
        return True

    def reserve(self, now_s: float) -> float:
        """
        Take a token that may not be there yet; returns the seconds until it is.

        Whoever reserves comes before all who only take(), and in the order of asking.
        """
        token_s = max(self._next_s, now_s - self._burst_s)
        self._next_s = token_s + self._token_interval_s(now_s)
        return max(token_s - now_s, 0.0)

    @property
    def _burst_s(self) -> float:
        """How far back the next token may lie."""
        return (self._burst - 1) / self._per_second

    def _token_interval_s(self, now_s: float) -> float:
        """The time between two tokens at the rate that there is."""
        return 1 / (self._per_second * self.share(now_s))
