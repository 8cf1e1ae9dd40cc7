"""Time and chance, as the loops are given them."""

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """The only source of time and dice; app.py has the real one."""

    def now(self) -> datetime:
        """The instant, aware, in UTC: for what is written down."""

    def monotonic(self) -> float:
        """Seconds that only grow: for what is waited for."""

    def chance(self) -> float:
        """A number in [0, 1)."""
