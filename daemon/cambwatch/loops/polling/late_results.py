"""
Retries missed results in the background, so that the API and the command line show them later.

This sends no notification: the one for the task went out without the result. Each account
has one request under way at most, and spends a quarter of its budget here. The database
knows which results are missing, so a restart finds them, and so do accounts that miss more
than fit into memory.
"""

import asyncio
import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

import structlog

from cambwatch.adapters.store.database import StoreUnavailableError
from cambwatch.adapters.store.missed_results import Since
from cambwatch.core.accounts import Account
from cambwatch.core.camb.kinds import KINDS
from cambwatch.core.camb.result_replies import ResultRead, ResultRefused, ResultReply, merged
from cambwatch.core.camb.result_requests import ResultRequest, result_requests
from cambwatch.core.camb.result_schedule import LATE_FOR, LATE_PART, LATE_TRY_S, MOST_LATE, late_pause_s
from cambwatch.core.model import Json, Task, Unavailable
from cambwatch.loops.clock import Clock
from cambwatch.loops.polling.account_queue import AccountLane
from cambwatch.loops.polling.result_fetching import ResultSource, ask_once
from cambwatch.loops.scheduler import Alarm

MARGIN = timedelta(minutes=1)  # a task may be committed so much later than another that ended after it
STORE_AGAIN_S = 10.0  # until the next try, when the database was unavailable

_KINDS = frozenset(kind.name for kind in KINDS.values() if any(call.method == "GET" for call in kind.results))

log = structlog.get_logger()


class MissedStore(Protocol):
    """The tasks without a result."""

    async def missed(
        self, since: Since, *, kinds: frozenset[str], accounts: frozenset[str], most: int
    ) -> list[Task]: ...
    async def write(self, task: Task, result: Json, *, half: bool) -> bool: ...


@dataclass(slots=True, eq=False)
class _Missed:
    """A task without its result. *half*: a part is stored. The retries end at *until_s*."""

    task: Task
    requests: tuple[ResultRequest, ...]
    until_s: float
    half: bool
    tries: int = 0
    why: str = "no request was possible"


class LateResults:
    """Retries each missed result until LATE_FOR after the end of its task, with growing pauses."""

    def __init__(
        self,
        source: ResultSource,
        book: MissedStore,
        *,
        accounts: Mapping[str, Account],
        lane: Callable[[str], AccountLane],
        clock: Clock,
        alarm: Alarm,
    ) -> None:
        self._source = source
        self._book = book
        self._spacing_s = {name: LATE_PART / account.requests_per_second for name, account in accounts.items()}
        self._lane = lane
        self._clock = clock
        self._kick = alarm.kick
        self._alarm = alarm
        self._missed: dict[int, _Missed] = {}
        self._due: dict[str, list[tuple[float, int]]] = {name: [] for name in accounts}
        self._workers: dict[str, asyncio.Task[None]] = {}
        self._look_from: Since | None = None  # after it the database may have some that are not in memory
        self._stopping = False
        self.look()

    def add(self, ended: Task, *, half: bool) -> None:
        """Retry the result of *ended*, whose end is committed; with *half*, a part of the result is stored."""
        at = ended.finished_at or self._clock.now()
        if self._look_from is None and len(self._missed) < MOST_LATE:
            self._take(ended, half=half)
        elif self._look_from is None:
            self._look_from = Since(at - MARGIN)
        self._kick.set()

    def look(self) -> None:
        """Look in the database for missed results, as after a start or when another node is gone."""
        self._look_from = Since(self._clock.now() - LATE_FOR)
        self._kick.set()

    async def run(self) -> None:
        """Retry until stop() is called."""
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
        """End all retries at once; the next start continues them."""
        self._stopping = True
        self._kick.set()

    async def _cancel(self) -> None:
        workers = tuple(self._workers.values())
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)

    async def _look_up(self, since: Since) -> bool:
        """Load those after *since* into memory, up to MOST_LATE; False where the database is unavailable."""
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
        # Never the POST that repeats a conversion: it may be billed.
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
        """Start a worker for each account that has a retry due, and set the alarm for the next one."""
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
        """Make the due retries of *account*, one after the other."""
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
        except Exception:  # a bug with one task must not stop the others
            pause_s = late_pause_s(missed.tries, retry_after=None, chance=0)
            log.exception("task.postponed", kind=task.key.kind, task_id=task.key.task_id, seconds=pause_s)
        if pause_s < 0:
            del self._missed[task.id]
        else:
            self._put(missed, pause_s)

    async def _step(self, missed: _Missed) -> float:
        """Retry once; returns the seconds until the next retry, negative: there is none."""
        now_s = self._clock.monotonic()
        if now_s >= missed.until_s:
            return self._give_up(missed, missed.why)
        account = missed.task.key.account
        silence_s = self._lane(account).silence_s(now_s)
        if silence_s > 0:  # the account is paused: this does not count as a retry
            return silence_s
        replies = [await self._ask(account, request) for request in missed.requests]
        missed.tries += 1
        read = merged([reply for reply in replies if isinstance(reply, ResultRead)])
        again = next((reply for reply in replies if isinstance(reply, Unavailable)), None)
        if read is not None and (again is None or not missed.half):
            written = await self._book.write(missed.task, read.document, half=missed.half)
            if not written:  # the task was deleted or registered again, or another node was faster
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
        self._log("warning", "result.given_up", missed, reason=why, hint="read it at result_endpoint with your key")
        return -1

    def _log(self, level: str, event: str, missed: _Missed, **more: str) -> None:
        key, finished_at = missed.task.key, missed.task.finished_at
        seconds = None if finished_at is None else round((self._clock.now() - finished_at).total_seconds(), 1)
        getattr(log, level)(
            event, kind=key.kind, task_id=key.task_id, account=key.account, tries=missed.tries, seconds=seconds, **more
        )


def _refusal(replies: list[ResultReply]) -> str:
    return next((reply.detail for reply in replies if isinstance(reply, ResultRefused)), "refused")
