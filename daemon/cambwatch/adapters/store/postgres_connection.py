"""
Opens every connection to PostgreSQL, as store.url says.

asyncpg gets separate arguments, so that store.url means the same for all connections. Session
settings are set after connecting, because a pooler rejects them in the startup packet.
"""

import asyncio
import os
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlencode

import asyncpg

from cambwatch.adapters.store import postgres_tls
from cambwatch.adapters.store.database import StoreMisconfiguredError, StoreUnavailableError
from cambwatch.adapters.store.postgres_errors import connection_error, shared_sessions_error
from cambwatch.core.postgres_parameters import SslMode
from cambwatch.core.postgres_url import PostgresHost, PostgresTls, parse_postgres_url

CONNECT_S = 3.0  # timeout per host, unless store.url sets connect_timeout
LOCK_MS = 5000  # how long a statement waits for a lock of another session
# How long a transaction of ours may be idle before the server releases its locks. This does not cover a statement that
# is prepared and not run yet, as asyncpg does it: other nodes terminate such sessions, see LeaseStore.
IDLE_IN_TRANSACTION_MS = 5000
ENCODING = "UTF8"

_SESSION_SETTINGS = {
    "lock_timeout": str(LOCK_MS),
    "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_MS),
    "jit": "off",  # all statements are short
}
_SET_UP = """
    SELECT current_setting('server_encoding'),
           (SELECT count(set_config(name, value, false)) FROM unnest($1::text[], $2::text[]) AS settings (name, value))
"""


class PostgresServer:
    """Connects to the database that *url* names, on the first usable host."""

    def __init__(self, url: str) -> None:
        """Raises StoreMisconfiguredError if *url*, or an environment variable that it depends on, is wrong."""
        try:
            self._url = parse_postgres_url(url, os.environ)
        except ValueError as error:
            raise StoreMisconfiguredError(f"store.url: {error}", hint="cambwatch check shows where it stands") from None
        self._hosts = list(self._url.hosts)
        self._host_timeout_s = self._url.connect_timeout_s or CONNECT_S

    @property
    def connect_timeout_s(self) -> float:
        """The seconds in which connect() returns or raises."""
        return self._host_timeout_s * len(self._hosts)

    async def connect(self, name: str) -> Any:
        """
        An asyncpg connection called *name*, to the first usable host. Tries the last used host first.

        Raises only StoreUnavailableError, including its subclass StoreMisconfiguredError.
        """
        ssl = await self._ssl()
        refusals = []
        for host in tuple(self._hosts):
            try:
                connection = await self._connect_to(host, name, ssl)
            except StoreUnavailableError as error:
                refusals.append((host, error))
            else:
                self._hosts.sort(key=lambda other: other != host)
                return connection
        raise _combined(refusals)

    async def _ssl(self) -> dict[str, Any]:
        """The TLS arguments for asyncpg. Reads the files each time, because a certificate may have been renewed."""
        tls = self._url.tls
        if tls.mode is SslMode.DISABLE:
            return {"ssl": False}
        try:
            context = await asyncio.to_thread(postgres_tls.context, tls)
        except ValueError as error:
            raise StoreMisconfiguredError(str(error), hint="correct store.url") from None
        if tls.mode.requires_tls:
            return {"ssl": context, "direct_tls": tls.direct}
        # Only asyncpg itself can fall back to no TLS, and then it creates its own context.
        return {"ssl": tls.mode.value, "direct_tls": False, "dsn": f"postgresql:///?{urlencode(_files(tls))}"}

    async def _connect_to(self, host: PostgresHost, name: str, ssl: dict[str, Any]) -> Any:
        url = self._url
        settings = {"application_name": name} | ({"options": url.startup_options} if url.startup_options else {})
        try:
            async with asyncio.timeout(self._host_timeout_s):
                connection = await asyncpg.connect(
                    host=host.name,
                    port=host.port,
                    user=url.user,
                    password=url.password and url.password.reveal(),
                    passfile=url.passfile,
                    database=url.database,
                    target_session_attrs=url.target_session_attrs,
                    server_settings=settings,
                    timeout=self._host_timeout_s,
                    **ssl,
                )
                try:
                    await self._set_up(connection, name)
                except BaseException:
                    connection.terminate()
                    raise
        except StoreUnavailableError:
            raise
        # Any exception: asyncpg documents only some of those that a broken connection or another server causes.
        except Exception as error:
            raise connection_error(error) from error
        return connection

    async def _set_up(self, connection: Any, name: str) -> None:
        # Set the name again, because a pooler may drop or extend it: nodes find each other's sessions by it.
        settings = {**self._url.settings, **_SESSION_SETTINGS, "application_name": name}
        encoding, _ = await connection.fetchrow(_SET_UP, list(settings), list(settings.values()))
        if encoding != ENCODING:
            raise StoreMisconfiguredError(
                f"the database has the encoding {encoding}, which cannot store every name",
                hint="create one in UTF-8 and set it in store.url: "
                f"CREATE DATABASE cambwatch ENCODING '{ENCODING}' LOCALE 'C' TEMPLATE template0",
            )


def _files(tls: PostgresTls) -> dict[str, str]:
    files = {
        "sslcert": tls.certificate,
        "sslkey": tls.key,
        "sslpassword": tls.key_password and tls.key_password.reveal(),
        "ssl_min_protocol_version": tls.min_version,
        "ssl_max_protocol_version": tls.max_version,
    }
    return {name: value for name, value in files.items() if value}


def _combined(refusals: list[tuple[PostgresHost, StoreUnavailableError]]) -> StoreUnavailableError:
    """One error with the reason of every host; StoreMisconfiguredError if one of them is."""
    errors = [error for _, error in refusals]
    worst = next((error for error in errors if isinstance(error, StoreMisconfiguredError)), errors[0])
    if len(errors) == 1:
        return worst
    reasons = "; ".join(f"{host}: {error.reason}" for host, error in refusals)
    return type(worst)(reasons, hint=worst.hint)


async def refuse_shared_sessions(server: PostgresServer) -> None:
    """
    Raise StoreMisconfiguredError if a pooler gives the same server session to several connections.

    The server's process ID shows it: two connections have the same one, or it changes within one
    connection. A pooler with enough idle sessions that uses the longest idle one first is not
    detected here; PostgresClusterEvents detects it later.
    """
    async with AsyncExitStack() as open_connections:
        first = await server.connect("cambwatch start")
        open_connections.callback(first.terminate)
        try:
            second = await server.connect("cambwatch start")
        except StoreUnavailableError as error:
            if isinstance(error, StoreMisconfiguredError):
                raise
            raise StoreUnavailableError(
                f"cannot open a second connection: {error.reason}",
                hint="each node needs eight: raise max_connections, or pgbouncer's default_pool_size",
            ) from error
        open_connections.callback(second.terminate)
        try:
            async with asyncio.timeout(server.connect_timeout_s):
                before = await backend_pid(first)
                async with second.transaction():
                    shared = before == await backend_pid(second) or before != await backend_pid(first)
        except Exception as error:  # as in connect()
            raise connection_error(error) from error
    if shared:
        raise shared_sessions_error()


async def backend_pid(connection: Any) -> int:
    """The ID of the server process that serves *connection*."""
    return int(await connection.fetchval("SELECT pg_catalog.pg_backend_pid()"))
