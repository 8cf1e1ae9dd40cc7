"""Tasks for the tests of what is decided about them."""

from datetime import UTC, datetime, timedelta

from cambwatch.core.lifecycle import Progress
from cambwatch.core.model import Status, Task, TaskKey

START = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)


def pending(*, deadline: timedelta = timedelta(hours=24), number: int = 1) -> Task:
    """A task registered at START."""
    key = TaskKey("default", "dub", f"6a1f0c9e-{number}")
    return Task(number, key, 1, Status.PENDING, START, START + deadline)


def unasked() -> Progress:
    """Of a task that is watched from START and was not asked for yet."""
    return Progress(known_at=START)
