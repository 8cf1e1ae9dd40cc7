"""Who carries what: most destination types have one sender, some have their own."""

from collections.abc import Mapping

from cambwatch.core.destinations import Destination
from cambwatch.core.formats import Message
from cambwatch.core.model import Attempt
from cambwatch.loops.delivery.worker import Sender


class SenderByType:
    """The sender in *own* for the destination types named there, *otherwise* for all others."""

    def __init__(self, otherwise: Sender, *, own: Mapping[str, Sender]) -> None:
        self._otherwise = otherwise
        self._own = own

    async def post(self, destination: Destination, message: Message, *, number: int) -> Attempt:
        """Make attempt *number*, by whoever is responsible."""
        sender = self._own.get(destination.type, self._otherwise)
        return await sender.post(destination, message, number=number)
