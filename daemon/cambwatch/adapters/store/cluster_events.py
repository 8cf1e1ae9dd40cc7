"""
What nodes tell each other, by PostgreSQL's LISTEN and NOTIFY.

News may be lost, as when the connection breaks: whoever hears that it was there
again has to look for himself.
"""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import fields
from typing import Any, Self

import structlog

from cambwatch.adapters.store.postgres import PROBE_PAUSE_S
from cambwatch.adapters.store.postgres_connecting import CONNECT_S, PostgresServer, backend_pid
from cambwatch.adapters.store.postgres_trouble import shared_sessions_error
from cambwatch.core.cluster import News

# Peers share the same tables. Two clusters may use different schemas of one database.
_CHANNEL = """
    SELECT CASE current_schema() WHEN 'public' THEN 'cambwatch'
                                 ELSE 'cambwatch_' || quote_ident(current_schema())::regnamespace::oid END
"""
AT_ONCE = 100  # words in one message, of which the longest have 64 characters: PostgreSQL takes up to 8000 bytes
NAMES = frozenset(field.name for field in fields(News))
HEARTBEAT_S = 5.0  # in which a connection that drops everything shows

log = structlog.get_logger()


class ServerPeers:
    """The other nodes on the database at *url*, as the node *me* knows them; use within one running event loop."""

    def __init__(self, url: str, me: str) -> None:
        self._server = PostgresServer(url)
        self._me = me
        self.heard: Callable[[News], None] = lambda _: None
        """Called with what they tell."""
        self.deaf: Callable[[], None] = lambda: None
        """Called when something that they told may have been missed, also when all begins."""
        self._untold: list[News] = []
        self._some, self._all_told = asyncio.Event(), asyncio.Event()
        self._all_told.set()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._stay_connected(), name="peers")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None  # noqa: S101 - entered
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    def tell(self, news: News) -> None:
        """Let the others hear *news* soon; nobody waits for it."""
        self._untold.append(news)
        self._some.set()
        self._all_told.clear()

    async def flush(self) -> None:
        """Return when all that was told is on its way, or cannot be, at most after CONNECT_S."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CONNECT_S):
                await self._all_told.wait()

    async def _stay_connected(self) -> None:
        while True:
            heard = False
            try:
                connection = await self._server.connect("cambwatch peers")
                heard = True
                try:
                    await self._talk(connection)
                finally:
                    connection.terminate()
            # Whatever it is: asyncpg has more words for a connection that ends under its hands than it documents, and
            # who does not connect again hears nothing any more.
            except Exception as error:  # noqa: BLE001
                if heard:
                    log.warning("peers.disconnected", error=str(error) or type(error).__name__)
            await asyncio.sleep(PROBE_PAUSE_S)

    async def _talk(self, connection: Any) -> None:
        """Until the connection breaks."""
        async with asyncio.timeout(CONNECT_S):
            channel = str(await connection.fetchval(_CHANNEL))
            session = await backend_pid(connection)
            await connection.add_listener(channel, self._take)
        connection.add_termination_listener(lambda _: self._some.set())  # so that it is noticed at once
        self.deaf()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_S):
                    await self._some.wait()
            telling, self._untold = self._untold, []
            try:
                async with asyncio.timeout(CONNECT_S):
                    for message in _messages(self._me, telling):
                        await connection.execute("SELECT pg_notify($1, $2)", channel, message)
                    if not telling:
                        await _prove_own(connection, session)
            except BaseException:
                self._untold = telling + self._untold  # told twice does no harm
                raise
            if not self._untold:
                self._some.clear()
                self._all_told.set()

    def _take(self, _connection: object, _process: int, _channel: str, payload: object) -> None:
        message = json.loads(str(payload))
        if message.get("from") != self._me:
            words: dict[str, Any] = {
                name: frozenset(value) if isinstance(value, list) else value
                for name, value in message.items()
                if name in NAMES  # nodes of a newer version may have more to tell
            }
            self.heard(News(**words))


async def _prove_own(connection: Any, session: int) -> None:
    """Raise StoreMisconfiguredError if *connection* is no longer in the *session* that listens."""
    if await backend_pid(connection) != session:
        raise shared_sessions_error()


def _messages(me: str, telling: list[News]) -> Iterator[str]:
    """*telling* in as few messages as NOTIFY takes."""
    for field in fields(News):
        values = [value for news in telling if (value := getattr(news, field.name))]
        if True in values:
            yield json.dumps({"from": me, field.name: True})
        elif values:
            words = sorted(frozenset().union(*values))
            for start in range(0, len(words), AT_ONCE):
                yield json.dumps({"from": me, field.name: words[start : start + AT_ONCE]})
