"""The line in the log that says how cambwatch understood a pause that an answer asks for."""

import structlog

from cambwatch.core.retry import ReadAs, Reading

log = structlog.get_logger()


def log_reading(reading: Reading, **sender: str) -> None:
    """Say how *reading* was understood, and whose answer it was: *sender* is an account or a destination."""
    fields = {**sender, "raw": reading.raw, "seconds": round(reading.seconds, 3), "read_as": reading.read_as}
    if reading.read_as is ReadAs.CAPPED:
        log.warning("pause.interpreted", **fields)
    else:
        log.info("pause.interpreted", **fields)
