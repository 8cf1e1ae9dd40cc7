"""How the pretend Camb behaves: seed, speed, keys, outcomes and faults."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from pydantic import ConfigDict


class SimulatedFault(StrEnum):
    """What can go wrong with the answer to one status poll."""

    RATE_LIMITED = "rate_limited"  # 429 with Retry-After
    SERVER_ERROR = "server_error"  # 503 with Retry-After
    RESET = "reset"  # TCP RST instead of an answer
    TRUNCATED = "truncated"  # Content-Length promises more than comes
    SLOW = "slow"  # the right answer, late
    HTML = "html"  # 200 with a page of some proxy
    OVERSIZED = "oversized"  # 200 with more than 1 MiB
    HANG = "hang"  # no answer until the client leaves
    UNKNOWN_WORD = "unknown_word"  # a status that nobody has heard of


class RetryAfterForm(StrEnum):
    """The two forms of Retry-After in RFC 9110, 10.2.3."""

    SECONDS = "seconds"
    DATE = "date"


@dataclass(frozen=True, slots=True)
class Faults:
    """
    The share (0 to 1) of status polls that each mishap befalls, at most 1 together.

    *retry_after_seconds* None: 429 and 503 come without Retry-After. *slow_seconds*
    is how late a slow answer is. Raises ValueError where a number is out of range.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    rate_limited: float = 0
    server_error: float = 0
    reset: float = 0
    truncated: float = 0
    slow: float = 0
    html: float = 0
    oversized: float = 0
    hang: float = 0
    unknown_word: float = 0
    retry_after_seconds: float | None = 1
    retry_after_form: RetryAfterForm = RetryAfterForm.SECONDS
    slow_seconds: float = 1

    def __post_init__(self) -> None:
        for fault in SimulatedFault:
            if not 0 <= getattr(self, fault) <= 1:
                raise ValueError(f"{fault} must lie between 0 and 1")
        if sum(share for _, share in self.shares()) > 1 + 1e-9:
            raise ValueError("the shares of all mishaps must not exceed 1 together")
        for name in ("retry_after_seconds", "slow_seconds"):
            seconds = getattr(self, name)
            if seconds is not None and not 0 <= seconds < math.inf:
                raise ValueError(f"{name} must be 0 or more")

    def shares(self) -> tuple[tuple[SimulatedFault, float], ...]:
        """The mishaps that occur at all, each with its share."""
        return tuple((fault, getattr(self, fault)) for fault in SimulatedFault if getattr(self, fault) > 0)


class UnknownTask(StrEnum):
    """What a status poll for an unknown task answers: nobody has documented what Camb does."""

    NOT_FOUND = "404"
    INVALID = "422"
    PENDING = "pending"


class StorySetup(StrEnum):
    """What `POST /story-setup` answers: the official SDK knows both forms."""

    TASK = "task"
    PROJECT = "project"  # at once, without a task


@dataclass(frozen=True, slots=True)
class Settings:
    """
    The behaviour of one pretend Camb.

    Two with the same *seed* and the same requests in the same order give the same
    ids, durations and outcomes. *speed* divides every duration (> 0). *keys* are the
    valid API keys; when empty, any key that is not empty will do. *mix* has the
    weights of the final statuses of tasks that the API creates. Raises ValueError
    where a number is out of range.
    """

    seed: int = 1
    speed: float = 1
    keys: frozenset[str] = frozenset()
    mix: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({"SUCCESS": 1.0}))
    faults: Faults = field(default_factory=Faults)
    unknown_task: UnknownTask = UnknownTask.NOT_FOUND
    story_setup: StorySetup = StorySetup.TASK

    def __post_init__(self) -> None:
        if not 0 < self.speed < math.inf:
            raise ValueError("speed must be more than 0")
        weights = self.mix.values()
        if not all(0 <= weight < math.inf for weight in weights) or sum(weights) <= 0:
            raise ValueError("mix needs weights of 0 or more, and one of more than 0")
