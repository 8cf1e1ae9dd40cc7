"""What the pretend Camb knows: tasks, runs, conversions, and how often it was asked. Seconds are an argument."""

import math
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import count
from random import Random
from types import MappingProxyType
from uuid import UUID

from cambwatch.core.camb.kinds import KINDS, Kind
from cambwatch.core.model import Json
from cambwatch.simulator.script import AnswerReply, FaultReply, Shape, TaskScript
from cambwatch.simulator.settings import Faults, Settings

SIGMA = 0.5
"""Of the lognormal distribution: two thirds of all tasks take between 0.6 and 1.6 medians."""

MEDIANS_S: Mapping[str, float] = MappingProxyType(
    {
        "dub": 180,
        "dub-alt-format": 20,
        "discord-dub": 180,
        "twitter-dub": 180,
        "tts": 8,
        "discord-tts": 8,
        "translated-tts": 12,
        "translation": 6,
        "transcription": 60,
        "subtitles": 75,
        "text-to-sound": 25,
        "text-to-voice": 40,
        "audio-separation": 50,
        "story": 240,
        "story-setup": 30,
        "translated-story": 180,
        "project-setup": 45,
    }
)
"""Median duration in seconds of each kind."""


def draw_s(kind: str, *, dice: Random) -> float:
    """A duration in seconds of a task of *kind*."""
    return dice.lognormvariate(math.log(MEDIANS_S[kind]), SIGMA)


_FIRST_RUN_ID = 10_001
_FAILURES = (
    ("INVALID_SOURCE_DATA", "The source could not be read"),
    ("SOURCE_TOO_LONG", "The source is longer than your plan allows"),
    ("ERROR_DOWNLOADING_SOURCE", "The source could not be downloaded"),
    ("PROCESSING_ERROR", "Something went wrong while processing"),
    ("INTERNAL_ERROR", None),
)


@dataclass(slots=True)
class SimulatedTask:
    """
    A task from its creation on.

    It is PENDING until *ends_s*, then *status*. *request* is the body of its create
    call with the fields of its path.
    """

    task_id: str
    kind: Kind
    status: str
    created_s: float
    ends_s: float
    run_id: int | None = None
    exception_reason: str | None = None
    message: str | dict[str, Json] | None = None
    shape: Shape = Shape.OBJECT
    lower_case: bool = False
    request: Mapping[str, Json] = field(default_factory=dict)
    replies: list[AnswerReply | FaultReply] = field(default_factory=list)  # the next one last
    result_replies: list[AnswerReply | FaultReply] = field(default_factory=list)  # the same
    result_bytes: int = 0

    def status_at(self, now_s: float) -> str:
        """The status word, in the case that the task was given."""
        return self.status if now_s >= self.ends_s else "PENDING"

    def run_id_at(self, now_s: float) -> int | None:
        """The run, which is there from the middle of the task's time on: long before its end."""
        return self.run_id if now_s >= (self.created_s + self.ends_s) / 2 else None

    def succeeded_at(self, now_s: float) -> bool:
        """Whether the task has a result."""
        return self.status_at(now_s).upper() == "SUCCESS"

    def failed_at(self, now_s: float) -> bool:
        """Whether the task ended without a result."""
        return self.status_at(now_s).upper() not in {"SUCCESS", "PENDING"}


class NoRunError(LookupError):
    """There is no such run, or it has no result yet."""


class WrongRunError(LookupError):
    """There is such a run, but another endpoint has its result."""


class SimulatorState:
    """
    Everything that changes while the pretend Camb runs.

    Every operation but the listing takes the same time whatever the number of tasks.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.tasks: dict[str, SimulatedTask] = {}
        self.polls: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()
        # By kind, run and, for stories in another language, that language: its runs are those of the story.
        self._runs: dict[tuple[str, int, str], SimulatedTask] = {}
        self._conversions: dict[tuple[int, str, str], SimulatedTask] = {}
        self._next_run_id = count(_FIRST_RUN_ID)
        # Two dice, so that tasks which a user adds do not change the fate of the others.
        self._id_dice = Random(f"{settings.seed} ids")  # noqa: S311 - reproducible, not secret
        self._fate_dice = Random(f"{settings.seed} fates")  # noqa: S311 - reproducible, not secret
        self.faults = settings.faults

    @property
    def faults(self) -> Faults:
        """What befalls status polls; may be replaced at any time."""
        return self._faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._faults = faults
        self.shares = faults.shares()

    def create(self, kind: Kind, request: Mapping[str, Json], *, now_s: float) -> SimulatedTask:
        """Begin a task whose duration and end the dice choose."""
        words = list(self.settings.mix)
        status = self._fate_dice.choices(words, list(self.settings.mix.values()))[0]
        duration_s = draw_s(kind.name, dice=self._fate_dice) / self.settings.speed
        reason, message = self._failure(status)
        return self._add(
            SimulatedTask(
                self._new_task_id(),
                kind,
                status,
                created_s=now_s,
                ends_s=now_s + duration_s,
                exception_reason=reason,
                message=message,
                shape=_usual_shape(kind),
                request=request,
            )
        )

    def register(self, script: TaskScript, *, now_s: float) -> SimulatedTask:
        """Begin a task that goes by *script*; it replaces one with the same id."""
        kind = KINDS[script.kind]
        return self._add(
            SimulatedTask(
                script.task_id or self._new_task_id(),
                kind,
                script.status,
                created_s=now_s,
                ends_s=now_s + script.after_seconds,
                run_id=script.run_id,
                exception_reason=script.exception_reason,
                message=script.message,
                shape=script.shape or _usual_shape(kind),
                lower_case=script.case == "lower",
                request=script.request,
                replies=list(reversed(script.replies)),
                result_replies=list(reversed(script.result_replies)),
                result_bytes=script.result_bytes,
            )
        )

    def find(self, status_path: str, task_id: str) -> SimulatedTask | None:
        """The task that `GET` *status_path* knows as *task_id*."""
        task = self.tasks.get(task_id)
        return task if task is not None and task.kind.status_path == status_path else None

    def run(self, kinds: Collection[str], run_id: int, *, now_s: float, language: str = "") -> SimulatedTask:
        """
        The task of one of *kinds* that has *run_id* and a result.

        Raises WrongRunError where a task of another kind has it, NoRunError where none has.
        """
        for kind in kinds:
            task = self._runs.get((kind, run_id, language)) or self._runs.get((kind, run_id, ""))
            if task is not None and task.succeeded_at(now_s):
                return task
        others = KINDS.keys() - kinds
        if any((other, run_id, "") in self._runs for other in others):
            raise WrongRunError(f"Run {run_id} is of another type")
        raise NoRunError(f"Run {run_id} not found")

    def conversion(self, run_id: int, language: str, output_format: str, *, now_s: float) -> SimulatedTask | None:
        """The task that converts or has converted this dub; None where there is none or it failed."""
        task = self._conversions.get((run_id, language, output_format))
        return None if task is None or task.failed_at(now_s) else task

    def _add(self, task: SimulatedTask) -> SimulatedTask:
        language = ""
        if task.kind.name in {"dub-alt-format", "translated-story"} and task.run_id is None:
            given = task.request.get("run_id")
            task.run_id = given if isinstance(given, int) else None
        if task.kind.name == "translated-story":
            language = str(task.request.get("target_language", ""))
        if task.run_id is None and task.status.upper() == "SUCCESS":
            task.run_id = self._new_run_id(task.kind)
        if task.run_id is not None:
            self._runs[task.kind.name, task.run_id, language] = task
        match task.kind.name, task.request:
            case "dub-alt-format", {"run_id": int(run_id), "language": spoken, "output_format": str(output_format)}:
                self._conversions[run_id, str(spoken), output_format] = task
        self.tasks[task.task_id] = task
        return task

    def _new_task_id(self) -> str:
        return str(UUID(int=self._id_dice.getrandbits(128), version=4))

    def _new_run_id(self, kind: Kind) -> int:
        # A user may have taken the next number for a task of this kind.
        return next(number for number in self._next_run_id if (kind.name, number, "") not in self._runs)

    def _failure(self, status: str) -> tuple[str | None, str | None]:
        match status.upper():
            case "ERROR":
                return self._fate_dice.choice(_FAILURES)
            case "TIMEOUT":
                return None, "Processing exceeded the time limit"
            case "PAYMENT_REQUIRED":
                return "PAYMENT_REQUIRED", "Insufficient credits"
        return None, None


def _usual_shape(kind: Kind) -> Shape:
    """What the official SDK, camb-sdk 1.6.6, expects of the status endpoint of *kind*."""
    return Shape.LIST if kind.name == "project-setup" else Shape.OBJECT
