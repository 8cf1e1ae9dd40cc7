"""What the log says of an account: one line where something has changed, none while it stays as it is."""

from datetime import timedelta
from typing import assert_never

import structlog

from cambwatch.core.model import Fault, Report, Unavailable
from cambwatch.loops.lasting import Lasting
from cambwatch.loops.pause_log import log_reading
from cambwatch.loops.polling.account_queue import AccountLane, Flip

LONG_SILENCE = timedelta(minutes=1)  # that Camb asks for with a 429, and that an operator should know of
LIMITED_FOR_S = 30.0  # that a budget has to be the limit, or no more, before we say so: a burst is no news

log = structlog.get_logger()


class AccountLog:
    """Tells of the account *name*, which *lane* is of."""

    def __init__(self, name: str, lane: AccountLane) -> None:
        self._name = name
        self._lane = lane
        self._limited = Lasting(LIMITED_FOR_S)

    def answered(self, report: Report, flip: Flip | None) -> None:
        """Log the *report* of a poll, and *flip*, the change of the account that it caused."""
        if flip is not None:
            self._flipped(flip)
        if type(report) is not Unavailable:
            return
        if report.reading is not None:
            log_reading(report.reading, account=self._name)
        if report.fault is Fault.RATE_LIMITED:
            silence = report.retry_after
            if silence is not None and silence >= LONG_SILENCE:
                seconds = round(silence.total_seconds())
                log.warning("account.silenced", account=self._name, seconds=seconds, reason=report.detail)

    def _flipped(self, flip: Flip) -> None:
        match flip:
            case Flip.PAUSED:
                log.error(
                    "account.paused",
                    account=self._name,
                    http_status=self._lane.refused,
                    hint="Camb refuses this API key: check camb.api_key; its tasks stay watched",
                )
            case Flip.UNREACHABLE:
                log.warning("camb.unreachable", account=self._name, reason=self._lane.trouble)
            case Flip.RESUMED:
                log.warning("account.resumed", account=self._name)
            case Flip.RECOVERED:
                log.info("camb.recovered", account=self._name)
            case _:
                assert_never(flip)

    def look_at_limit(self, now_s: float) -> float | None:
        """Say so where the budget has become the limit, or is no more; returns when to look again, None: whenever."""
        if self._limited.look(self._lane.limited(now_s), now_s):
            if self._limited.holds:
                log.warning(
                    "account.limited",
                    account=self._name,
                    seconds_late=round(self._lane.behind_s(now_s), 1),
                    hint="requests_per_second is too little for the tasks that are watched: all are asked less often",
                )
            else:
                log.info("account.unlimited", account=self._name)
        return self._limited.look_s
