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
from cambwatch.adapters.store.postgres_connection import CONNECT_S, PostgresServer, backend_pid
from cambwatch.adapters.store.postgres_errors import shared_sessions_error
from cambwatch.core.cluster import ClusterEvent

# Peers share the same tables. Two clusters may use different schemas of one database.
_CHANNEL = """
    SELECT CASE current_schema() WHEN 'public' THEN 'cambwatch'
                                 ELSE 'cambwatch_' || quote_ident(current_schema())::regnamespace::oid END
"""
IDS_PER_MESSAGE = (
    100  # words in one message, of which the longest have 64 characters: PostgreSQL takes up to 8000 bytes
)
EVENT_FIELDS = frozenset(field.name for field in fields(ClusterEvent))
HEARTBEAT_S = 5.0  # in which a connection that drops everything shows

log = structlog.get_logger()


class PostgresClusterEvents:
    """The other nodes on the database at *url*, as the node *node_id* knows them; use within one running event loop."""

    def __init__(self, url: str, node_id: str) -> None:
        self._server = PostgresServer(url)
        self._node_id = node_id
        self.heard: Callable[[ClusterEvent], None] = lambda _: None
        """Called with what they tell."""
        self.disconnected: Callable[[], None] = lambda: None
        """Called when something that they told may have been missed, also when all begins."""
        self._outgoing: list[ClusterEvent] = []
        self._has_outgoing, self._flushed = asyncio.Event(), asyncio.Event()
        self._flushed.set()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._stay_connected(), name="peers")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None  # noqa: S101 - entered
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    def publish(self, event: ClusterEvent) -> None:
        """Send *event* to the other nodes soon; returns at once."""
        self._outgoing.append(event)
        self._has_outgoing.set()
        self._flushed.clear()

    async def flush(self) -> None:
        """Return when all that was told is on its way, or cannot be, at most after CONNECT_S."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CONNECT_S):
                await self._flushed.wait()

    async def _stay_connected(self) -> None:
        while True:
            heard = False
            try:
                connection = await self._server.connect("cambwatch peers")
                heard = True
                try:
                    await self._exchange_events(connection)
                finally:
                    connection.terminate()
            # Whatever it is: asyncpg has more words for a connection that ends under its hands than it documents, and
            # who does not connect again hears nothing any more.
            except Exception as error:  # noqa: BLE001
                if heard:
                    log.warning("cluster.disconnected", error=str(error) or type(error).__name__)
            await asyncio.sleep(PROBE_PAUSE_S)

    async def _exchange_events(self, connection: Any) -> None:
        """Until the connection breaks."""
        async with asyncio.timeout(CONNECT_S):
            channel = str(await connection.fetchval(_CHANNEL))
            session = await backend_pid(connection)
            await connection.add_listener(channel, self._receive)
        connection.add_termination_listener(lambda _: self._has_outgoing.set())  # so that it is noticed at once
        self.disconnected()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_S):
                    await self._has_outgoing.wait()
            outgoing, self._outgoing = self._outgoing, []
            try:
                async with asyncio.timeout(CONNECT_S):
                    for message in _messages(self._node_id, outgoing):
                        await connection.execute("SELECT pg_notify($1, $2)", channel, message)
                    if not outgoing:
                        await _check_own_session(connection, session)
            except BaseException:
                self._outgoing = outgoing + self._outgoing  # sent twice does no harm
                raise
            if not self._outgoing:
                self._has_outgoing.clear()
                self._flushed.set()

    def _receive(self, _connection: object, _process: int, _channel: str, payload: object) -> None:
        message = json.loads(str(payload))
        if message.get("from") != self._node_id:
            event_fields: dict[str, Any] = {
                name: frozenset(value) if isinstance(value, list) else value
                for name, value in message.items()
                if name in EVENT_FIELDS  # nodes of a newer version may send more fields
            }
            self.heard(ClusterEvent(**event_fields))


async def _check_own_session(connection: Any, session: int) -> None:
    """Raise StoreMisconfiguredError if *connection* is no longer in the *session* that listens."""
    if await backend_pid(connection) != session:
        raise shared_sessions_error()


def _messages(node_id: str, outgoing: list[ClusterEvent]) -> Iterator[str]:
    """*outgoing* in as few messages as NOTIFY takes."""
    for field in fields(ClusterEvent):
        values = [value for event in outgoing if (value := getattr(event, field.name))]
        if True in values:
            yield json.dumps({"from": node_id, field.name: True})
        elif values:
            event_fields = sorted(frozenset().union(*values))
            for start in range(0, len(event_fields), IDS_PER_MESSAGE):
                yield json.dumps({"from": node_id, field.name: event_fields[start : start + IDS_PER_MESSAGE]})
