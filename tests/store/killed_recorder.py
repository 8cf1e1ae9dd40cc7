"""
A process to be killed: it records attempts into a database without end, each with a turn of the breaker.

The number of the attempt is that of the failures. It says each number that the store has acknowledged.
"""

import asyncio
import os
import sys
from dataclasses import replace
from pathlib import Path

from store_samples import NOW, all_due

from cambwatch.adapters.store.deliveries import DeliveryStore
from cambwatch.adapters.store.sqlite import SqliteDatabase
from cambwatch.core.delivery.attempts import AttemptRecord, BreakerChange
from cambwatch.core.delivery.breaker import Breaker
from cambwatch.core.model import Attempt, Outcome, RetryAt


async def record_forever(path: Path) -> None:
    """Go on after the last attempt that is written down."""
    async with SqliteDatabase(path) as database:
        deliveries = DeliveryStore(database)
        ((delivery, _),) = await all_due(deliveries, "hook", now=NOW)
        number = delivery.attempts
        while True:
            number += 1
            attempt = Attempt(number, Outcome.TRANSIENT, took_ms=1)
            breaker_change = BreakerChange("hook", replace(Breaker(), failures=number))
            await deliveries.record([AttemptRecord(delivery, attempt, RetryAt(NOW))], breaker_change, now=NOW)
            os.write(1, f"{number}\n".encode())


asyncio.run(record_forever(Path(sys.argv[1])))
