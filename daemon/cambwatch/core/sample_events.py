"""Events that did not happen: to show what would be sent and who would hear of it, and to try a destination out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cambwatch.core.events import Link, TaskEnded
from cambwatch.core.model import Status

TEST_NAME = "Test message of cambwatch"
_TOOK = timedelta(seconds=41)
_AUDIO = "https://example.com/sample.flac"


@dataclass(frozen=True, slots=True)
class RoutingAttributes:
    """What routes ask of a task besides its kind and status."""

    account: str = "default"
    group: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


def sample_event(
    kind: str,
    status: Status,
    *,
    at: datetime,
    task_id: str = "sample",
    name: str = "Sample",
    attributes: RoutingAttributes | None = None,
) -> TaskEnded:
    """The end of a task that there is not, with the terminal *status*, at *at*."""
    attributes = attributes or RoutingAttributes()
    success = status is Status.SUCCESS
    return TaskEnded(
        account=attributes.account,
        kind=kind,
        task_id=task_id,
        registrations=1,
        status=status,
        registered_at=at - _TOOK,
        finished_at=at,
        name=name,
        labels=attributes.labels,
        group=attributes.group,
        run_id=123 if success else None,
        exception_reason="SAMPLE_REASON" if status is Status.ERROR else None,
        message=None if success else "This is a sample",
        polls=9,
        result={"output_url": _AUDIO} if success else None,
        links=(Link("Audio", _AUDIO),) if success else (),
    )


def sample_test_message(at: datetime) -> TaskEnded:
    """What a destination is tried out with at *at*; every instant has its own, so that none is taken for known."""
    task_id = f"test-{at:%Y%m%d-%H%M%S-%f}"
    return sample_event("dub", Status.SUCCESS, at=at, task_id=task_id, name=TEST_NAME)
