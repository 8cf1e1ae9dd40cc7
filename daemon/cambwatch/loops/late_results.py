"""
Reads results that were missed when their task ended, so that the API and the command line show them later.

A message is sent once, without its result if need be; this never sends another. One request
at a time for each account, between which others come first. Which results are missing, the
database knows: after a restart, or when more are missing than are held in memory, they are
found there.
"""

import asyncio
import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

import structlog

from cambwatch.adapters.store.database import StoreUnavailableError
from cambwatch.adapters.store.late_results import Since
from cambwatch.core.accounts import Account
from cambwatch.core.kinds import KINDS
from cambwatch.core.model import Json, Task, Unavailable
from cambwatch.core.result_replies import ResultRead, ResultRefused, ResultReply, merged
from cambwatch.core.result_requests import ResultRequest, result_requests
from cambwatch.core.result_schedule import LATE_FOR, LATE_PART, LATE_TRY_S, MOST_LATE, late_pause_s
from cambwatch.loops.account import AccountLane
from cambwatch.loops.clock import Clock
from cambwatch.loops.result_asking import ResultSource, ask_once
from cambwatch.loops.scheduler import Alarm

MARGIN = timedelta(minutes=1)  # by which an end may be written down later than one that came after it
STORE_AGAIN_S = 10.0

_KINDS = frozenset(kind.name for kind in KINDS.values() if any(call.method == "GET" for call in kind.results))

log = structlog.get_logger()


class LateResultBook(Protocol):
    """Where it stands which results are missing."""

    async def missed(
        self, since: Since, *, kinds: frozenset[str], accounts: frozenset[str], most: int
    ) -> list[Task]: ...
    async def write(self, task: Task, result: Json, *, half: bool) -> bool: ...


@dataclass(slots=True, eq=False)
class _Missed:
    """*half*: a part of its result is there. *until_s* is when cambwatch gives up."""

    task: Task
    requests: tuple[ResultRequest, ...]
    until_s: float
    half: bool
    tries: int = 0
    why: str = "no try was possible"


class LateResults:
    """Tries for LATE_FOR after the end of a task, with growing pauses, to read the result that was missed."""

    def __init__(
        self,
        source: ResultSource,
        book: LateResultBook,
        *,
        accounts: Mapping[str, Account],
        lane: Callable[[str], AccountLane],
        clock: Clock,
        kick: asyncio.Event,
        alarm: Alarm,
    ) -> None:
        self._source = source
        self._book = book
        self._spacing_s = {name: LATE_PART / account.requests_per_second for name, account in accounts.items()}
        self._lane = lane
        self._clock = clock
        self._kick = kick
        self._alarm = alarm
        self._missed: dict[int, _Missed] = {}
        self._due: dict[str, list[tuple[float, int]]] = {name: [] for name in accounts}
        self._workers: dict[str, asyncio.Task[None]] = {}
        self._look_from: Since | None = None  # behind it the database may have some that are not in mind
        self._stopping = False
        self.look()

    def add(self, ended: Task, *, half: bool) -> None:
        """The result of *ended* was missed, or with *half* a part of it; its end is committed."""
        at = ended.finished_at or self._clock.now()
        if self._look_from is None and len(self._missed) < MOST_LATE:
            self._take(ended, half=half)
        elif self._look_from is None:
            self._look_from = Since(at - MARGIN)
        self._kick.set()

    def look(self) -> None:
        """Some may be missing that nobody else tries to read, as after a start, or when another node is gone."""
        self._look_from = Since(self._clock.now() - LATE_FOR)
        self._kick.set()

    async def run(self) -> None:
        """Read what is missing until stop() is called."""
        try:
            while not self._stopping:
                self._kick.clear()
                while self._look_from is not None and len(self._missed) <= MOST_LATE // 2:
                    if not await self._look_up(self._look_from):
                        break
                self._start_due()
                await self._kick.wait()
        finally:
            await self._cancel()

    def stop(self) -> None:
        """Ask for nothing more, and give up what is under way: it is found again after the next start."""
        self._stopping = True
        self._kick.set()

    async def _cancel(self) -> None:
        workers = tuple(self._workers.values())
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)

    async def _look_up(self, since: Since) -> bool:
        """Have those in mind that come after *since*, up to MOST_LATE; False where the database cannot be had."""
        most = MOST_LATE - len(self._missed)
        try:
            found = await self._book.missed(since, kinds=_KINDS, accounts=frozenset(self._due), most=most)
        except StoreUnavailableError as error:
            log.warning("store.unavailable", undone="late results", error=str(error))
            self._alarm.set(STORE_AGAIN_S)
            return False
        for task in found:
            if task.id not in self._missed:
                self._take(task, half=False)
        last = found[-1] if len(found) == most else None
        self._look_from = None if last is None or last.finished_at is None else Since(last.finished_at, last.id)
        return True

    def _take(self, task: Task, *, half: bool) -> None:
        # Without the POST that repeats a conversion: whoever is not looking at it must not pay for it.
        requests = result_requests(KINDS[task.key.kind], task.run_id, task.extra, repeat_alt_format=False)
        now = self._clock.now()
        left_s = ((task.finished_at or now) + LATE_FOR - now).total_seconds()
        if requests and left_s > 0:
            missed = _Missed(task, requests, self._clock.monotonic() + left_s, half)
            self._missed[task.id] = missed
            self._put(missed, late_pause_s(0, retry_after=None, chance=self._clock.chance()))

    def _put(self, missed: _Missed, pause_s: float) -> None:
        due_s = min(self._clock.monotonic() + pause_s, missed.until_s)
        heapq.heappush(self._due[missed.task.key.account], (due_s, missed.task.id))

    def _start_due(self) -> None:
        """Let a worker begin for each account that has something due, and see to it that we are woken for the next."""
        now_s = self._clock.monotonic()
        for account, due in self._due.items():
            if not due or account in self._workers:
                continue
            if due[0][0] > now_s:
                self._alarm.set(due[0][0] - now_s)
                continue
            worker = asyncio.create_task(self._work(account), name=f"late results {account}")
            self._workers[account] = worker

    async def _work(self, account: str) -> None:
        """Read what is due, one after the other."""
        due = self._due[account]
        try:
            while due and due[0][0] <= self._clock.monotonic():
                _, number = heapq.heappop(due)
                await self._try(self._missed[number])
                await asyncio.sleep(self._spacing_s[account])
        finally:
            del self._workers[account]
            self._kick.set()

    async def _try(self, missed: _Missed) -> None:
        task, pause_s = missed.task, STORE_AGAIN_S
        try:
            pause_s = await self._step(missed)
        except StoreUnavailableError as error:
            log.warning("store.unavailable", undone="result", kind=task.key.kind, task_id=task.key.task_id,
                        error=str(error))  # fmt: skip
        except Exception:  # one task's trouble must not end the work on the others
            pause_s = late_pause_s(missed.tries, retry_after=None, chance=0)
            log.exception("task.postponed", kind=task.key.kind, task_id=task.key.task_id, seconds=pause_s)
        if pause_s < 0:
            del self._missed[task.id]
        else:
            self._put(missed, pause_s)

    async def _step(self, missed: _Missed) -> float:
        """Try once; returns the seconds until the next try, negative: there is none."""
        now_s = self._clock.monotonic()
        if now_s >= missed.until_s:
            return self._give_up(missed, missed.why)
        account = missed.task.key.account
        silence_s = self._lane(account).silence_s(now_s)
        if silence_s > 0:  # of the key, so it is no try
            return silence_s
        replies = [await self._ask(account, request) for request in missed.requests]
        missed.tries += 1
        read = merged([reply for reply in replies if isinstance(reply, ResultRead)])
        again = next((reply for reply in replies if isinstance(reply, Unavailable)), None)
        if read is not None and (again is None or not missed.half):
            written = await self._book.write(missed.task, read.document, half=missed.half)
            if not written:  # the task is gone or registered again, or another node was faster
                return -1
            missed.half = True
        if again is not None:
            missed.why = again.detail or again.fault
            return late_pause_s(missed.tries, retry_after=again.retry_after, chance=self._clock.chance())
        if read is None:
            return self._give_up(missed, _refusal(replies))
        self._log("info", "result.fetched", missed)
        return -1

    async def _ask(self, account: str, request: ResultRequest) -> ResultReply:
        until_s = self._clock.monotonic() + LATE_TRY_S
        return await ask_once(self._source, account, request, self._lane(account), clock=self._clock, until_s=until_s)

    def _give_up(self, missed: _Missed, why: str) -> float:
        self._log("warning", "result.given_up", missed, reason=why, hint="result_endpoint may give it, with your key")
        return -1

    def _log(self, level: str, event: str, missed: _Missed, **more: str) -> None:
        key, finished_at = missed.task.key, missed.task.finished_at
        seconds = None if finished_at is None else round((self._clock.now() - finished_at).total_seconds(), 1)
        getattr(log, level)(
            event, kind=key.kind, task_id=key.task_id, account=key.account, tries=missed.tries, seconds=seconds, **more
        )


def _refusal(replies: list[ResultReply]) -> str:
    return next((reply.detail for reply in replies if isinstance(reply, ResultRefused)), "refused")
