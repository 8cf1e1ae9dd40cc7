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
from cambwatch.adapters.store.missed_results import CompletionCursor
from cambwatch.core.accounts import Account
from cambwatch.core.camb.kinds import KINDS
from cambwatch.core.camb.result_requests import (
    LATE_BUDGET_SHARE,
    LATE_FOR,
    LATE_REQUEST_S,
    MOST_LATE_RESULTS,
    ResultRead,
    ResultRefused,
    ResultReply,
    ResultRequest,
    late_pause_s,
    merge_results,
    request_timeout_s,
    result_requests,
)
from cambwatch.core.model import Fault, Json, Task, UnavailableReply
from cambwatch.loops.pause_log import log_reading
from cambwatch.loops.polling.account_queue import AccountQueue
from cambwatch.loops.scheduler import Clock, Wakeup


class ResultSource(Protocol):
    """Makes the request."""

    async def result(self, account: str, request: ResultRequest) -> ResultReply: ...


async def request_result(
    source: ResultSource, account: str, request: ResultRequest, queue: AccountQueue, *, clock: Clock, until_s: float
) -> ResultReply:
    """
    Camb's reply to *request*. Unavailable where none comes by *until_s* of the monotonic clock.

    Spends the account's budget. Holds one of the account's places for results only for the
    time of the request.
    """
    async with queue.result_slots:
        now_s = clock.monotonic()
        wait_s = queue.reserve(now_s, within_s=until_s - now_s)
        while wait_s is None or wait_s > 0:
            if wait_s is None or clock.monotonic() + wait_s > until_s:
                return UnavailableReply(
                    Fault.RATE_LIMITED, detail="the request budget of the account does not allow it in time"
                )
            await asyncio.sleep(wait_s)
            wait_s = queue.paused_s(clock.monotonic())  # a 429 may have come meanwhile
        try:
            async with asyncio.timeout(request_timeout_s(until_s - clock.monotonic())):
                reply = await source.result(account, request)
        except TimeoutError:
            return UnavailableReply(Fault.TIMEOUT, detail="no answer in time")
    if isinstance(reply, UnavailableReply) and reply.reading is not None:
        log_reading(reply.reading, account=account)
    if isinstance(reply, UnavailableReply) and reply.fault is Fault.RATE_LIMITED:
        queue.slow_down(clock.monotonic())
        if reply.retry_after is not None:
            queue.pause_until(clock.monotonic() + reply.retry_after.total_seconds())
    return reply


COMMIT_MARGIN = timedelta(minutes=1)  # a task may be committed so much later than another that ended after it
STORE_RETRY_S = 10.0  # until the next try, when the database was unavailable

_KINDS = frozenset(kind.name for kind in KINDS.values() if any(call.method == "GET" for call in kind.results))

log = structlog.get_logger()


class MissingResultStore(Protocol):
    """The tasks without a result."""

    async def missing_results(
        self, since: CompletionCursor, *, kinds: frozenset[str], accounts: frozenset[str], most: int
    ) -> list[Task]: ...
    async def write(self, task: Task, result: Json, *, part_stored: bool) -> bool: ...


@dataclass(slots=True, eq=False)
class _MissingResult:
    """A task without its result. *part_stored*: a part is stored. The retries end at *until_s*."""

    task: Task
    requests: tuple[ResultRequest, ...]
    until_s: float
    part_stored: bool
    tries: int = 0
    why: str = "no request was possible"


class LateResults:
    """Retries each missed result until LATE_FOR after the end of its task, with growing pauses."""

    def __init__(
        self,
        source: ResultSource,
        store: MissingResultStore,
        *,
        accounts: Mapping[str, Account],
        queue_of: Callable[[str], AccountQueue],
        clock: Clock,
        wakeup: Wakeup,
    ) -> None:
        self._source = source
        self._store = store
        self._spacing_s = {name: LATE_BUDGET_SHARE / account.requests_per_second for name, account in accounts.items()}
        self._queue_of = queue_of
        self._clock = clock
        self._wakeup_event = wakeup.wakeup_event
        self._wakeup = wakeup
        self._missing: dict[int, _MissingResult] = {}
        self._due: dict[str, list[tuple[float, int]]] = {name: [] for name in accounts}
        self._workers: dict[str, asyncio.Task[None]] = {}
        self._load_from: CompletionCursor | None = None  # after it the database may have some that are not in memory
        self._stopping = False
        self.load_missing()

    def add(self, finished: Task, *, part_stored: bool) -> None:
        """Retry the result of *finished*, whose conclusion is committed; *part_stored*: half of it is stored."""
        at = finished.finished_at or self._clock.now()
        if self._load_from is None and len(self._missing) < MOST_LATE_RESULTS:
            self._add_missing(finished, part_stored=part_stored)
        elif self._load_from is None:
            self._load_from = CompletionCursor(at - COMMIT_MARGIN)
        self._wakeup_event.set()

    def load_missing(self) -> None:
        """Look in the database for missed results, as after a start or when another node is gone."""
        self._load_from = CompletionCursor(self._clock.now() - LATE_FOR)
        self._wakeup_event.set()

    async def run(self) -> None:
        """Retry until stop() is called."""
        try:
            while not self._stopping:
                self._wakeup_event.clear()
                while self._load_from is not None and len(self._missing) <= MOST_LATE_RESULTS // 2:
                    if not await self._load_page(self._load_from):
                        break
                self._start_due()
                await self._wakeup_event.wait()
        finally:
            await self._cancel()

    def stop(self) -> None:
        """End all retries at once; the next start continues them."""
        self._stopping = True
        self._wakeup_event.set()

    async def _cancel(self) -> None:
        workers = tuple(self._workers.values())
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)

    async def _load_page(self, since: CompletionCursor) -> bool:
        """Load those after *since* into memory, up to MOST_LATE_RESULTS; False where the database is unavailable."""
        most = MOST_LATE_RESULTS - len(self._missing)
        try:
            found = await self._store.missing_results(since, kinds=_KINDS, accounts=frozenset(self._due), most=most)
        except StoreUnavailableError as error:
            log.warning("store.unavailable", operation="late results", error=str(error))
            self._wakeup.set(STORE_RETRY_S)
            return False
        for task in found:
            if task.id not in self._missing:
                self._add_missing(task, part_stored=False)
        last = found[-1] if len(found) == most else None
        self._load_from = (
            None if last is None or last.finished_at is None else CompletionCursor(last.finished_at, last.id)
        )
        return True

    def _add_missing(self, task: Task, *, part_stored: bool) -> None:
        # Never the POST that repeats a conversion: it may be billed.
        requests = result_requests(KINDS[task.key.kind], task.run_id, task.extra, repeat_alt_format=False)
        now = self._clock.now()
        left_s = ((task.finished_at or now) + LATE_FOR - now).total_seconds()
        if requests and left_s > 0:
            missing_results = _MissingResult(task, requests, self._clock.monotonic() + left_s, part_stored)
            self._missing[task.id] = missing_results
            self._schedule(missing_results, late_pause_s(0, retry_after=None, chance=self._clock.chance()))

    def _schedule(self, missing_results: _MissingResult, pause_s: float) -> None:
        due_s = min(self._clock.monotonic() + pause_s, missing_results.until_s)
        heapq.heappush(self._due[missing_results.task.key.account], (due_s, missing_results.task.id))

    def _start_due(self) -> None:
        """Start a worker for each account that has a retry due, and set the alarm for the next one."""
        now_s = self._clock.monotonic()
        for account, due in self._due.items():
            if not due or account in self._workers:
                continue
            if due[0][0] > now_s:
                self._wakeup.set(due[0][0] - now_s)
                continue
            worker = asyncio.create_task(self._work(account), name=f"late results {account}")
            self._workers[account] = worker

    async def _work(self, account: str) -> None:
        """Make the due retries of *account*, one after the other."""
        due = self._due[account]
        try:
            while due and due[0][0] <= self._clock.monotonic():
                _, row_id = heapq.heappop(due)
                await self._retry(self._missing[row_id])
                await asyncio.sleep(self._spacing_s[account])
        finally:
            del self._workers[account]
            self._wakeup_event.set()

    async def _retry(self, missing_results: _MissingResult) -> None:
        task, pause_s = missing_results.task, STORE_RETRY_S
        try:
            pause_s = await self._retry_once(missing_results)
        except StoreUnavailableError as error:
            log.warning("store.unavailable", operation="result", kind=task.key.kind, task_id=task.key.task_id,
                        error=str(error))  # fmt: skip
        except Exception:  # a bug with one task must not stop the others
            pause_s = late_pause_s(missing_results.tries, retry_after=None, chance=0)
            log.exception("task.postponed", kind=task.key.kind, task_id=task.key.task_id, seconds=pause_s)
        if pause_s < 0:
            del self._missing[task.id]
        else:
            self._schedule(missing_results, pause_s)

    async def _retry_once(self, missing_results: _MissingResult) -> float:
        """Retry once; returns the seconds until the next retry, negative: there is none."""
        now_s = self._clock.monotonic()
        if now_s >= missing_results.until_s:
            return self._give_up(missing_results, missing_results.why)
        account = missing_results.task.key.account
        paused_s = self._queue_of(account).paused_s(now_s)
        if paused_s > 0:  # the account is paused: this does not count as a retry
            return paused_s
        replies = [await self._request(account, request) for request in missing_results.requests]
        missing_results.tries += 1
        read = merge_results([reply for reply in replies if isinstance(reply, ResultRead)])
        again = next((reply for reply in replies if isinstance(reply, UnavailableReply)), None)
        if read is not None and (again is None or not missing_results.part_stored):
            written = await self._store.write(
                missing_results.task, read.document, part_stored=missing_results.part_stored
            )
            if not written:  # the task was deleted or registered again, or another node was faster
                return -1
            missing_results.part_stored = True
        if again is not None:
            missing_results.why = again.detail or again.fault
            return late_pause_s(missing_results.tries, retry_after=again.retry_after, chance=self._clock.chance())
        if read is None:
            return self._give_up(missing_results, _refusal_reason(replies))
        self._log("info", "result.fetched", missing_results)
        return -1

    async def _request(self, account: str, request: ResultRequest) -> ResultReply:
        until_s = self._clock.monotonic() + LATE_REQUEST_S
        return await request_result(
            self._source, account, request, self._queue_of(account), clock=self._clock, until_s=until_s
        )

    def _give_up(self, missing_results: _MissingResult, why: str) -> float:
        self._log(
            "warning", "result.given_up", missing_results, reason=why, hint="read it at result_endpoint with your key"
        )
        return -1

    def _log(self, level: str, event: str, missing_results: _MissingResult, **more: str) -> None:
        key, finished_at = missing_results.task.key, missing_results.task.finished_at
        seconds = None if finished_at is None else round((self._clock.now() - finished_at).total_seconds(), 1)
        getattr(log, level)(
            event,
            kind=key.kind,
            task_id=key.task_id,
            account=key.account,
            tries=missing_results.tries,
            seconds=seconds,
            **more,
        )


def _refusal_reason(replies: list[ResultReply]) -> str:
    return next((reply.detail for reply in replies if isinstance(reply, ResultRefused)), "refused")
