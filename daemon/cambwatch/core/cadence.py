"""When to ask Camb again."""

from dataclasses import dataclass
from datetime import timedelta

from cambwatch.core.retry import Backoff


@dataclass(frozen=True, slots=True)
class PollPolicy:
    """
    How tasks of one kind are asked for.

    *interval* lies between *min_interval* and *max_interval*. A 404 means "not yet
    there" until *not_found_grace* has gone by without Camb knowing the task.
    """

    interval: timedelta = timedelta(seconds=5)
    min_interval: timedelta = timedelta(seconds=1)
    max_interval: timedelta = timedelta(minutes=2)
    deadline: timedelta = timedelta(hours=24)
    not_found_grace: timedelta = timedelta(minutes=2)

    def pause(self) -> timedelta:
        """The pause after an answer that leaves the task pending: the same at every age."""
        return self.interval

    def first_pause(self, *, chance: float) -> timedelta:
        """
        The pause after the first answer: anything from the interval down to *min_interval*, by *chance* in [0, 1).

        Tasks that were registered together would else be asked for together ever after.
        """
        return self.interval - max(self.interval - self.min_interval, timedelta(0)) * chance

    def pause_after_trouble(self, failures: int, *, chance: float) -> timedelta:
        """
        The pause after the *failures*-th answer in a row that says nothing about the task.

        Starts at the interval and doubles; never shorter than the interval, because
        a Camb in trouble must not be asked more often than a healthy one.
        """
        longest = max(self.max_interval, self.interval)
        return Backoff(self.interval, 2, longest).pause(failures, chance=chance)


class TokenBucket:
    """
    A budget of *per_second* (> 0) tokens, of which at most *burst* (>= 1) wait unused.

    Time is an argument: seconds of any clock that never goes back; one that does buys nothing.
    """

    # Held as the instant of the next token, not as a number of tokens: a sum of fractions may
    # end a hair below one at the very instant for which take() was promised to succeed.
    __slots__ = ("_next_s", "_saved_s", "_step_s")

    def __init__(self, per_second: float, *, burst: float, now_s: float) -> None:
        self._step_s = 1 / per_second
        self._saved_s = (burst - 1) / per_second  # how far back the next token may lie
        self._next_s = now_s - self._saved_s

    @property
    def ready_s(self) -> float:
        """From when on take() succeeds, unless somebody else takes or reserves before."""
        return self._next_s

    def wait_s(self, now_s: float) -> float:
        """Seconds until a token is there; 0 when take() would succeed now."""
        return max(self._next_s - now_s, 0.0)

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
        token_s = max(self._next_s, now_s - self._saved_s)
        self._next_s = token_s + self._step_s
        return max(token_s - now_s, 0.0)
