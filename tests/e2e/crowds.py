"""Servers that count how many requests are with them at once, and one that the test may call Camb."""

from aiohttp import web
from receivers import Receivers


class Crowd(Receivers):
    """Receivers that know how many requests they had at most at once; never more than were sent at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.most = 0

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            return await super()._handle(request)
        finally:
            self.now -= 1
