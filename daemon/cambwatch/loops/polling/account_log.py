"""What the log says of an account: one line where something has changed, none while it stays as it is."""

from datetime import timedelta
from typing import assert_never

import structlog

from cambwatch.core.model import Fault, PollReply, UnavailableReply
from cambwatch.loops.pause_log import log_reading
from cambwatch.loops.polling.account_queue import AccountChange, AccountQueue
from cambwatch.loops.watchdog import DebouncedCondition

LONG_PAUSE = timedelta(minutes=1)  # that Camb asks for with a 429, and that an operator should know of
LIMITED_HOLD_S = 30.0  # that a budget has to be the limit, or no more, before we say so: a burst is no news

log = structlog.get_logger()


class AccountLog:
    """Logs changes of the account *name* with its *queue*."""

    def __init__(self, name: str, queue: AccountQueue) -> None:
        self._name = name
        self._queue = queue
        self._limited = DebouncedCondition(LIMITED_HOLD_S)

    def log_reply(self, reply: PollReply, change: AccountChange | None) -> None:
        """Log the *reply* of a poll, and *change*, the change of the account that it caused."""
        if change is not None:
            self._log_change(change)
        if type(reply) is not UnavailableReply:
            return
        if reply.reading is not None:
            log_reading(reply.reading, account=self._name)
        if reply.fault is Fault.RATE_LIMITED:
            retry_after = reply.retry_after
            if retry_after is not None and retry_after >= LONG_PAUSE:
                seconds = round(retry_after.total_seconds())
                log.warning("account.rate_limited", account=self._name, seconds=seconds, reason=reply.detail)

    def _log_change(self, change: AccountChange) -> None:
        match change:
            case AccountChange.PAUSED:
                log.error(
                    "account.paused",
                    account=self._name,
                    http_status=self._queue.refused,
                    hint="Camb refuses this API key: check camb.api_key; its tasks stay watched",
                )
            case AccountChange.UNREACHABLE:
                log.warning("camb.unreachable", account=self._name, reason=self._queue.trouble)
            case AccountChange.RESUMED:
                log.warning("account.resumed", account=self._name)
            case AccountChange.RECOVERED:
                log.info("camb.recovered", account=self._name)
            case _:
                assert_never(change)

    def check_budget(self, now_s: float) -> float | None:
        """Say so where the budget has become the limit, or is no more; returns when to look again, None: whenever."""
        if self._limited.update(self._queue.limited(now_s), now_s):
            if self._limited.active:
                log.warning(
                    "account.over_budget",
                    account=self._name,
                    seconds_late=round(self._queue.budget_lag_s(now_s), 1),
                    hint="requests_per_second is too little for the tasks that are watched: all are asked less often",
                )
            else:
                log.info("account.within_budget", account=self._name)
        return self._limited.next_check_s
