"""Clients that register tasks, alone, in arrays and in groups, and have some removed, while processes die."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import aiohttp
from camb_under_faults import FaultyCamb
from killing import Moment, Trap
from node import Node
from verdict import Fault, Finding, Promise

KINDS = ("tts", "dub", "translation", "transcription", "text-to-sound")
ENDS = {"SUCCESS": 55, "ERROR": 25, "TIMEOUT": 10, "PAYMENT_REQUIRED": 10}
FAILED = frozenset({"ERROR", "TIMEOUT", "PAYMENT_REQUIRED"})
AGAIN_S = 0.1
PAUSE_S = 0.2  # between two registrations of one client, on average

DESTINATIONS = ("everything", "failures", "batches")
ROUTES: Sequence[Mapping[str, Any]] = (
    {"notify": ["everything"]},
    {"when": {"status": sorted(FAILED)}, "notify": ["failures"]},
    {"when": {"label": {"lane": "fast"}}, "notify": ["batches"]},
    {"when": {"event": ["group"]}, "notify": ["batches"]},
)
"""What the daemon is configured with; Book says by itself who is to hear of what."""

GROUP_HEARS = frozenset({"everything", "batches"})


@dataclass(slots=True)
class _Task:
    wish: dict[str, Any]
    end: str
    accepted: bool = False
    removal_asked: bool = False
    removed_at_s: float | None = None

    @property
    def hears(self) -> frozenset[str]:
        if "notify" in self.wish:
            return frozenset(self.wish["notify"])
        hears = {"everything"}
        if self.end in FAILED:
            hears.add("failures")
        if self.wish.get("labels") == {"lane": "fast"}:
            hears.add("batches")
        return frozenset(hears)


@dataclass(slots=True)
class Book:
    """What was promised: every task that was ever named, and what became of its registration."""

    tasks: dict[str, _Task] = field(default_factory=dict)
    groups: dict[str, list[str]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def promises(self) -> list[Promise]:
        """One for each task and each group."""
        return [
            Promise(
                event=f"task {task_id}",
                end=task.end,
                hears=task.hears,
                owed=task.accepted and not task.removal_asked,
                removed_at_s=task.removed_at_s,
            )
            for task_id, task in self.tasks.items()
        ] + [
            Promise(
                event=f"group {group}",
                end=str(len(members)),
                hears=GROUP_HEARS,
                owed=all(self.tasks[one].accepted for one in members),  # one that was removed has ended as well
            )
            for group, members in self.groups.items()
        ]


class Client:
    """
    One that registers, waits for the answer, and asks again where there is none.

    *dice* decides what it wishes. *alive* gives the node to ask, by a number of the client's.
    """

    def __init__(
        self,
        number: int,
        dice: Random,
        book: Book,
        camb: FaultyCamb,
        *,
        trap: Trap,
        alive: Callable[[int], Node | None],
    ) -> None:
        self._number = number
        self._dice = dice
        self._book = book
        self._camb = camb
        self._trap = trap
        self._alive = alive
        self._made = 0
        self._removals: set[asyncio.Task[None]] = set()

    async def work(self, http: aiohttp.ClientSession, stop: asyncio.Event) -> None:
        """Register until *stop*, then finish what was begun."""
        while not stop.is_set():
            wishes = self._wishes()
            doomed = [(wish, 3 * self._dice.random()) for wish in wishes if self._dice.random() < 0.15]
            pause_s = self._dice.expovariate(1 / PAUSE_S)
            half = len(wishes) // 2 if self._dice.random() < 0.5 else 0
            for array in (wishes[:half], wishes[half:]):
                if array:
                    await self._register(http, array)
            for wish, after_s in doomed:
                removal = asyncio.create_task(self._remove(http, wish, after_s))
                self._removals.add(removal)
                removal.add_done_callback(self._removals.discard)
            await asyncio.wait([asyncio.create_task(stop.wait())], timeout=pause_s)
        await asyncio.gather(*self._removals)

    def _wishes(self) -> list[dict[str, Any]]:
        (form,) = self._dice.choices(("alone", "array", "group"), (50, 25, 25))
        count = 1 if form == "alone" else self._dice.randint(2, 5)
        wishes = [self._wish() for _ in range(count)]
        if form == "group":
            group = f"g-{self._number}-{self._made}"
            for wish in wishes:
                wish |= {"group": group, "group_size": count}
            self._book.groups[group] = [wish["task_id"] for wish in wishes]
        self._book.counts[form] += 1
        return wishes

    def _wish(self) -> dict[str, Any]:
        dice = self._dice
        self._made += 1
        wish: dict[str, Any] = {"kind": dice.choice(KINDS), "task_id": f"t-{self._number}-{self._made}"}
        (end,) = dice.choices(list(ENDS), list(ENDS.values()))
        (after_s,) = dice.choices((0.0, 1.5 * dice.random(), 4 * dice.random()), (20, 60, 20))
        if dice.random() < 0.3:
            wish["labels"] = {"lane": "fast"}
        if dice.random() < 0.1:
            wish["notify"] = dice.choice(([], ["failures"], ["batches", "everything"]))
        self._camb.begin(wish["kind"], wish["task_id"], status=end, after_s=after_s)
        self._book.tasks[wish["task_id"]] = _Task(wish, end)
        return wish

    async def _register(self, http: aiohttp.ClientSession, wishes: list[dict[str, Any]]) -> None:
        document = wishes[0] if len(wishes) == 1 else wishes
        sent, answered = Moment.REGISTRATION_SENT, Moment.REGISTRATION_ANSWERED
        await self._ask(http, "POST", "/v1/tasks", document, accepted={200, 201}, sent=sent, answered=answered)
        for wish in wishes:
            self._book.tasks[wish["task_id"]].accepted = True

    async def _remove(self, http: aiohttp.ClientSession, wish: dict[str, Any], after_s: float) -> None:
        await asyncio.sleep(after_s)
        task = self._book.tasks[wish["task_id"]]
        task.removal_asked = True
        path = f"/v1/tasks/{wish['kind']}/{wish['task_id']}"
        sent, answered = Moment.REMOVAL_SENT, Moment.REMOVAL_ANSWERED
        status, at_s = await self._ask(http, "DELETE", path, None, accepted={204, 404}, sent=sent, answered=answered)
        task.removed_at_s = at_s
        if status == 404:
            self._book.findings.append(Finding(Fault.UNKNOWN_TASK, f"task {wish['task_id']}"))

    async def _ask(
        self,
        http: aiohttp.ClientSession,
        method: str,
        path: str,
        document: Any,
        *,
        accepted: set[int],
        sent: Moment,
        answered: Moment,
    ) -> tuple[int, float]:
        """Ask until somebody answers as *accepted* says; the status, and when that was."""
        while True:
            node = self._alive(self._number)
            if node is None:
                await asyncio.sleep(AGAIN_S)
                continue
            status, at_s = 0, 0.0
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
                context = (sent, node)
                async with http.request(method, node.url + path, json=document, trace_request_ctx=context) as response:
                    status, at_s = response.status, time.monotonic()
                    await response.read()
            if status in accepted:
                self._trap.reach(answered, node)
                return status, at_s
            if 400 <= status < 500:
                raise RuntimeError(f"{method} {path} is answered with {status}: {document}")
            self._book.counts["unanswered" if status == 0 else f"refused {status}"] += 1
            await asyncio.sleep(AGAIN_S)


def clients_session(trap: Trap) -> aiohttp.ClientSession:
    """For all clients; tells *trap* when a request was sent. Connections are used again, as clients do."""
    tracing = aiohttp.TraceConfig()

    async def sent(_: aiohttp.ClientSession, context: Any, __: aiohttp.TraceRequestHeadersSentParams) -> None:
        if context.trace_request_ctx is not None:
            trap.reach(*context.trace_request_ctx)

    tracing.on_request_headers_sent.append(sent)
    return aiohttp.ClientSession(trace_configs=[tracing], timeout=aiohttp.ClientTimeout(total=10))
