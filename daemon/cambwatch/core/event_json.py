"""Events as JSON: the form in which they are stored, and the notification that a program reads."""

from datetime import UTC, datetime, timedelta
from typing import assert_never

from cambwatch.core.camb.results import make_storable
from cambwatch.core.events import DestinationAlert, Event, GroupComplete, Link, TaskEnded
from cambwatch.core.guidance import alert_icon, guidance_for, summary
from cambwatch.core.instants import rfc3339
from cambwatch.core.model import Json, Outcome, Status

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def event_to_json(event: Event) -> dict[str, Json]:
    """*event* in plain JSON values, from which event_from_json() makes the same event again."""
    match event:
        case TaskEnded():
            return {
                "event": "task",
                "account": event.account,
                "kind": event.kind,
                "task_id": event.task_id,
                "registrations": event.registrations,
                "status": event.status.value,
                "registered_at_us": _microseconds(event.registered_at),
                "finished_at_us": _microseconds(event.finished_at),
                "name": event.name,
                "labels": dict(event.labels),
                "group": event.group,
                "run_id": event.run_id,
                "exception_reason": event.exception_reason,
                "message": event.message,
                "polls": event.polls,
                "result_endpoint": event.result_endpoint,
                "result": event.result,
                "links": [{"label": link.label, "url": link.url} for link in event.links],
                "result_pending": event.result_pending,
            }
        case GroupComplete():
            return {
                "event": "group",
                "group": event.group,
                "counts": {str(status): count for status, count in event.counts.items()},
                "tasks": event.tasks,
                "registered_at_us": _microseconds(event.registered_at),
                "finished_at_us": _microseconds(event.finished_at),
            }
        case DestinationAlert():
            return {
                "event": "destination",
                "destination": event.destination,
                "since_us": _microseconds(event.since),
                "at_us": _microseconds(event.at),
                "recovered": event.recovered,
                "waiting": event.waiting,
                "outcome": event.outcome.value,
                "http_status": event.http_status,
            }
        case _:
            assert_never(event)


def event_from_json(document: Json) -> Event:
    """
    The event that event_to_json() wrote; keys that a later version added are passed over.

    Raises KeyError or ValueError on anything that event_to_json() did not write.
    """
    match document["event"]:
        case "task":
            return TaskEnded(
                account=document["account"],
                kind=document["kind"],
                task_id=document["task_id"],
                registrations=document["registrations"],
                status=Status(document["status"]),
                registered_at=_instant(document["registered_at_us"]),
                finished_at=_instant(document["finished_at_us"]),
                name=document["name"],
                labels=document["labels"],
                group=document["group"],
                run_id=document["run_id"],
                exception_reason=document["exception_reason"],
                message=document["message"],
                polls=document["polls"],
                result_endpoint=document["result_endpoint"],
                result=document["result"],
                links=tuple(Link(link["label"], link["url"]) for link in document["links"]),
                result_pending=document.get("result_pending", False),  # older versions did not write it
            )
        case "group":
            return GroupComplete(
                group=document["group"],
                counts=document["counts"],
                tasks=document["tasks"],
                registered_at=_instant(document["registered_at_us"]),
                finished_at=_instant(document["finished_at_us"]),
            )
        case "destination":
            return DestinationAlert(
                destination=document["destination"],
                since=_instant(document["since_us"]),
                at=_instant(document["at_us"]),
                recovered=document["recovered"],
                waiting=document["waiting"],
                outcome=Outcome(document["outcome"]),
                http_status=document["http_status"],
            )
        case other:
            raise ValueError(f"{other!r} is no event")


def notification_body(event: Event) -> dict[str, Json]:
    """The notification: `type`, `timestamp` (when it happened) and `data`, in plain JSON values."""
    return {"type": event.type, "timestamp": rfc3339(event.finished_at), "data": _data(event)}


def _data(event: Event) -> dict[str, Json]:
    match event:
        case TaskEnded():
            guidance = guidance_for(event.kind, event.status, event.exception_reason)
            return {
                "account": event.account,
                "kind": event.kind,
                "task_id": event.task_id,
                "name": event.name,
                "labels": dict(event.labels),
                "group": event.group,
                "status": event.status.value,
                "run_id": event.run_id,
                "exception_reason": event.exception_reason,
                "message": event.message,
                "icon": guidance.icon,
                "action": guidance.action,
                "summary": summary(event),
                "registered_at": rfc3339(event.registered_at),
                "finished_at": rfc3339(event.finished_at),
                "duration_seconds": _duration_s(event),
                "polls": event.polls,
                "result_endpoint": event.result_endpoint,
                "result": make_storable(event.result),
                "links": [{"label": link.label, "url": link.url} for link in event.links],
                "result_pending": event.result_pending,
            }
        case GroupComplete():
            return {
                "group": event.group,
                "counts": {str(status): count for status, count in event.counts.items()},
                "tasks": event.tasks,
                "summary": summary(event),
                "registered_at": rfc3339(event.registered_at),
                "finished_at": rfc3339(event.finished_at),
                "duration_seconds": _duration_s(event),
            }
        case DestinationAlert():
            return {
                "destination": event.destination,
                "icon": alert_icon(event),
                "summary": summary(event),
                "since": rfc3339(event.since),
                "waiting": event.waiting,
                "last_outcome": event.outcome.value,
                "last_http_status": event.http_status,
                "duration_seconds": _duration_s(event),
            }
        case _:
            assert_never(event)


def _duration_s(event: Event) -> float:
    """Seconds with one decimal; 0 where the clock was set back meanwhile."""
    return round(max((event.finished_at - event.registered_at).total_seconds(), 0.0), 1)


# Microseconds, not RFC 3339: exact, and there is one way to write them.
def _microseconds(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND


def _instant(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)
