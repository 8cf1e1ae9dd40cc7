"""Three nodes on one PostgreSQL, each behind a proxy that kills it around claims, changes and commits."""

import asyncio
import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self
from urllib.parse import urlsplit

import asyncpg
from deployment import configuration
from killing import Aim, Moment, Trap
from node import Node, free_port
from postgres_proxy import between

NODES = 3
LEASE_S = 2
SERVER = "CAMBWATCH_TEST_POSTGRES"  # as in store.url, with a host and without TLS


class OnPostgres:
    """See Deployment. *folder* gets the logs, and the server where no other one is named."""

    moments: Mapping[Moment, int] = MappingProxyType(
        {
            Moment.CLAIM_SENT: 2,
            Moment.CLAIM_DONE: 2,
            Moment.CLAIM_ANSWERED: 2,
            Moment.CHANGE_SENT: 2,
            Moment.CHANGE_DONE: 3,
            Moment.CHANGE_ANSWERED: 3,
            Moment.COMMIT_SENT: 3,
            Moment.COMMIT_DONE: 5,
            Moment.COMMIT_ANSWERED: 3,
        }
    )
    removal_grace_s = LEASE_S + 2.0  # what another node holds it may go on with until its lease has to be renewed
    frozen_share = 0.1
    frozen_s = LEASE_S + 2.0  # in which the others have to take over

    def __init__(self, folder: Path, *, camb: str, receivers: str, trap: Trap) -> None:
        self._folder = folder
        self._camb = camb
        self._receivers = receivers
        self._trap = trap
        self._running = AsyncExitStack()
        self._server = ""
        self._name = f"cambwatch_crash_{secrets.token_hex(4)}"
        self.nodes: Sequence[Node] = ()

    async def __aenter__(self) -> Self:
        self._server = os.environ.get(SERVER) or await self._own_server()
        await self._administer(f'CREATE DATABASE "{self._name}"')
        nodes = []
        for number in range(1, NODES + 1):
            port = free_port()
            node = self._node(f"node-{number}", port)
            await self._running.enter_async_context(between(node, port, trap=self._trap, open_server=self._open_server))
            nodes.append(node)
        self.nodes = tuple(nodes)
        return self

    async def __aexit__(self, *_: object) -> None:
        for node in self.nodes:
            node.kill()
            await node.reap()
        if self._server:
            await self._administer(f'DROP DATABASE IF EXISTS "{self._name}" WITH (FORCE)')
        await self._running.aclose()

    async def _own_server(self) -> str:
        from postgres_server import PostgresServer  # of the folder above; a named server needs none

        server = PostgresServer()
        await asyncio.to_thread(server.__enter__)
        self._running.push(server)
        return server.url()

    def _node(self, name: str, port: int) -> Node:
        parts = urlsplit(self._server)
        whom = parts.netloc.rpartition("@")[0]
        url = parts._replace(netloc=f"{whom}@127.0.0.1:{port}", path=f"/{self._name}").geturl()
        config = configuration(
            name,
            store={"url": url, "lease": f"{LEASE_S}s"},
            listen=f"127.0.0.1:{free_port()}",
            camb=self._camb,
            receivers=self._receivers,
        )
        return Node(name, self._folder, config)

    async def _open_server(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        parts = urlsplit(self._server)
        return await asyncio.open_connection(parts.hostname, parts.port or 5432)

    async def _administer(self, statement: str) -> None:
        connection = await asyncpg.connect(self._server)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    async def aim(self, aim: Aim) -> None:
        """The proxies tell the trap by themselves."""

    async def aim_no_more(self) -> None:
        """Nothing else kills."""

    def autopsy(self) -> Mapping[str, Any]:
        """What was begun and not committed the server has rolled back: it shows nothing."""
        return {}

    async def examine(self) -> list[str]:
        """Constraints hold at every moment on PostgreSQL; nobody may be left within a transaction."""
        connection = await asyncpg.connect(urlsplit(self._server)._replace(path=f"/{self._name}").geturl())
        try:
            left = await connection.fetch(
                "SELECT pid, query FROM pg_stat_activity WHERE datname = $1 AND state LIKE 'idle in transaction%'",
                self._name,
            )
        finally:
            await connection.close()
        return [f"left in a transaction: {row['query']}" for row in left]
