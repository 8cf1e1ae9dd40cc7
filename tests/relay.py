"""A network between a process and its database, that can be cut: nothing passes, and nobody is told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

CHUNK_BYTES = 65536


class Relay:
    """Hands everything on to *port*, until it is cut; what was on its way then passes when it is mended."""

    def __init__(self, port: int) -> None:
        self._to = port
        self.port = 0
        self._whole = asyncio.Event()
        self._whole.set()
        self._connections: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def serve(self) -> AsyncIterator["Relay"]:
        """Stand at `port` for the length of the block."""
        server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for one in self._connections:
                one.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    def cut(self) -> None:
        """From now on nothing passes, in no direction; connections are taken, and lead nowhere."""
        self._whole.clear()

    def mend(self) -> None:
        """Everything passes again."""
        self._whole.set()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        writers = [writer]
        try:
            await self._whole.wait()
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._to)
            writers.append(up_writer)
            ways = [asyncio.ensure_future(self._carry(*way)) for way in ((reader, up_writer), (up_reader, writer))]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass  # the end of the connection, or of the relay
        finally:
            for one in writers:
                one.transport.abort()
            self._connections.discard(task)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while some := await reader.read(CHUNK_BYTES):
                await self._whole.wait()
                writer.write(some)
                await writer.drain()
            await self._whole.wait()  # that a peer has gone does not pass either
