"""Logs how cambwatch read a requested pause."""

import structlog

from cambwatch.core.delivery.retry import LONGEST_RETRY_AFTER, PauseReading

log = structlog.get_logger()


def log_reading(reading: PauseReading, **sender: str) -> None:
    """Log *reading*; *sender* names the account or the destination."""
    fields = {**sender, "raw": reading.raw, "seconds": round(reading.seconds, 3), "read_as": reading.read_as}
    if reading.seconds >= LONGEST_RETRY_AFTER.total_seconds():  # nothing is sent for a day: an operator should know
        log.warning("pause.interpreted", **fields)
    else:
        log.info("pause.interpreted", **fields)
