"""What the tests of polling and delivering say again and again: a destination, an answer of Camb, what came of it."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from api import Api
from receivers import Received, Receivers, Reply

HOOK = "/hook"

Until = Callable[..., Awaitable[None]]


def hook(receivers: Receivers, path: str = HOOK, **fields: Any) -> dict[str, Any]:
    """A plain webhook destination at *path* of *receivers*, whose second attempt comes soon."""
    retry = {"first": "50ms", "max": "1s", **fields.pop("retry", {})}
    return {"type": "webhook", "url": receivers.url + path, "allow_private": True, "retry": retry, **fields}


def settings(**sections: Any) -> str:
    """Sections of the configuration as YAML, of which JSON is a part."""
    return json.dumps(sections)


def says(document: Any, *, status: int = 200, **more: Any) -> Reply:
    """An answer with *document* as JSON."""
    headers = {"content-type": "application/json", **more.pop("headers", {})}
    return Reply(status, json.dumps(document).encode(), headers, **more)


def ended(status: str = "ERROR", run_id: int | None = None, **more: Any) -> Reply:
    """Camb's answer for a task that has ended; an ERROR has no result that would be asked for."""
    return says({"status": status, "run_id": run_id}, **more)


PENDING = says({"status": "PENDING"})


def told(receivers: Receivers, path: str = HOOK) -> dict[str, dict[str, Any]]:
    """The `data` of what came for *path*, by task_id; the last one counts."""
    documents = [request.document["data"] for request in receivers.at(path)]
    return {data["task_id"]: data for data in documents}


async def hear(receivers: Receivers, *task_ids: str, path: str = HOOK, timeout_s: float = 15) -> list[dict[str, Any]]:
    """Wait for the ends of *task_ids* to be told at *path*; their `data`, in this order."""

    def complete() -> bool:
        # Counted first: to read all bodies at each request would take the square of their number.
        return len(receivers.requests) >= len(task_ids) and told(receivers, path).keys() >= set(task_ids)

    await receivers.until(complete, timeout_s)
    return [told(receivers, path)[task_id] for task_id in task_ids]


async def watch(api: Api, kind: str, *task_ids: str, **fields: Any) -> None:
    """Register *task_ids*, all of *kind*."""
    answer = await api.post([{"kind": kind, "task_id": task_id, **fields} for task_id in task_ids])
    assert answer.status == 201, answer


async def shown(api: Api, kind: str, task_id: str, account: str = "default") -> dict[str, Any]:
    """The task as the intake shows it."""
    task: dict[str, Any] = (await api.get(f"/v1/tasks/{kind}/{task_id}?account={account}")).document
    return task


def ids_of(requests: list[Received]) -> list[str]:
    """The webhook-id of each request."""
    return [request.headers["webhook-id"] for request in requests]
