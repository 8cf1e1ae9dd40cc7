"""Kills around messages to PostgreSQL fall where they are said to fall; with a real server and its usual client."""

import asyncio
import os
from collections.abc import Iterator
from urllib.parse import urlsplit

import asyncpg
import pytest
from killing import Aim, Moment, Trap
from node import free_port
from postgres_proxy import Act, Messages, act_of, between

from postgres_server import PostgresServer, drop_database, execute, fetch, new_database


class Victim:
    """Stands for a node: to be killed is all that it can."""

    name = "node-1"

    def __init__(self) -> None:
        self.alive = True

    def kill(self) -> None:
        self.alive = False


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    if named := os.environ.get("CAMBWATCH_TEST_POSTGRES"):
        yield named
        return
    with PostgresServer() as made:
        yield made.url()


@pytest.fixture
def database(server):
    url = new_database(server)
    yield url
    drop_database(url)


@pytest.mark.parametrize(
    ("statement", "act"),
    [
        ("COMMIT;", Act.COMMIT),
        ("commit", Act.COMMIT),
        ("BEGIN ISOLATION LEVEL READ COMMITTED;", None),
        ("ROLLBACK;", None),
        ("SELECT 1", None),
        ("", None),
        ("WITH due AS (SELECT id FROM tasks FOR UPDATE SKIP LOCKED) UPDATE tasks SET holder = 1", Act.CLAIM),
        ("SELECT id FROM tasks\nFOR UPDATE SKIP LOCKED", Act.CLAIM),
        ("INSERT INTO events (id) VALUES ($1)", Act.CHANGE),
        ("update tasks set status = 'ERROR'", Act.CHANGE),
        ("WITH old AS (DELETE FROM tasks RETURNING id) SELECT count(*) FROM old", Act.CHANGE),
        ("WITH some AS (SELECT 1) SELECT * FROM some", None),
    ],
)
def test_statements_are_told_by_their_words(statement, act):
    assert act_of(statement) is act


def test_messages_are_cut_wherever_the_stream_was_cut():
    stream = b"Z\0\0\0\5I" + b"C\0\0\0\x0bCOMMIT\0" + b"1\0\0\0\4"
    for size in range(1, len(stream)):
        messages = Messages()
        found = [one for at in range(0, len(stream), size) for one in messages.feed(stream[at : at + size])]
        assert [kind for kind, _ in found] == [b"Z", b"C", b"1"]
        assert b"".join(message for _, message in found) == stream


@pytest.mark.parametrize(
    ("moment", "written", "heard"),
    [
        (Moment.CHANGE_SENT, False, False),
        (Moment.CHANGE_DONE, False, False),
        (Moment.CHANGE_ANSWERED, True, True),  # this one lives on, and goes on to its commit
        (Moment.COMMIT_SENT, False, False),
        (Moment.COMMIT_DONE, True, False),
        (Moment.COMMIT_ANSWERED, True, True),
    ],
)
async def test_a_kill_around_a_commit(database, moment, written, heard):
    """Before it was forwarded nothing is written; when it is done it is, whether or not the node has heard so."""
    port, trap, victim = free_port(), Trap(), Victim()
    parts = urlsplit(database)

    async def open_server():
        return await asyncio.open_connection(parts.hostname, parts.port)

    await execute(database, "CREATE TABLE ours (id int)")
    through = parts._replace(netloc=f"{parts.netloc.rpartition('@')[0]}@127.0.0.1:{port}").geturl()
    async with between(victim, port, trap=trap, open_server=open_server):
        connection = await asyncpg.connect(through)
        sprung = trap.set(Aim(moment, nth=1, pause_s=0, linger_s=0, node=0))
        told = True
        try:
            async with connection.transaction():
                await connection.execute("INSERT INTO ours VALUES ($1)", 7)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            told = False
        finally:
            connection.terminate()
        assert sprung.done()
        assert not victim.alive
        assert told is heard
    others = f"SELECT 1 FROM pg_stat_activity WHERE datname = '{parts.path[1:]}' AND pid <> pg_backend_pid()"  # noqa: S608
    async with asyncio.timeout(10):
        while await fetch(database, others):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert [row["id"] for row in await fetch(database, "SELECT id FROM ours")] == ([7] if written else [])
