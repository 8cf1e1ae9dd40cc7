"""Connections as store.url says: encodings, settings, schemas, passwords; and what is said where none is made."""

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from store_samples import watch

from cambwatch.adapters.store.cluster_events import PostgresClusterEvents
from cambwatch.adapters.store.database import StoreMisconfiguredError, StoreUnavailableError
from cambwatch.adapters.store.postgres import PostgresDatabase
from cambwatch.adapters.store.postgres_connection import PostgresServer as Way
from cambwatch.adapters.store.postgres_migration import migrate
from cambwatch.adapters.store.tasks import TaskStore
from cambwatch.core.cluster import ClusterEvent
from postgres_server import PASSWORD, USER, drop_database, execute, fetch, free_port, new_database

PERSIAN = "می\u200cروم 👨\u200d👩\u200d👧"


async def setting(url: str, name: str) -> str:
    """What *name* is in a session of ours."""
    connection = await Way(url).connect("cambwatch")
    try:
        return str(await connection.fetchval(f"SHOW {name}"))
    finally:
        await connection.close()


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1", "WIN1252", "EUC_JP"])
async def test_a_database_that_is_not_utf8_is_refused_at_the_start(postgres_server: str, encoding: str) -> None:
    """Untouched, with its encoding and what to do: a name that it cannot hold would keep a task pending for ever."""
    url = await asyncio.to_thread(new_database, postgres_server, encoding=encoding)
    with pytest.raises(StoreMisconfiguredError, match=f"the encoding {encoding}.*TEMPLATE template0"):
        await migrate(url)
    assert await fetch(url, "SELECT 1 FROM pg_tables WHERE schemaname = 'public'") == []
    async with PostgresDatabase(url) as database:  # one that was put in the place of another while we were at work
        with pytest.raises(StoreUnavailableError, match=encoding):
            await watch(TaskStore(database), "one")
    await asyncio.to_thread(drop_database, url)


@pytest.mark.parametrize("query", ["", "?client_encoding=LATIN1", "?options=-c%20client_encoding%3DLATIN1"])
async def test_names_arrive_whole_whatever_the_client_encoding(empty: str, query: str, monkeypatch) -> None:
    """Of the URL, the environment, and the user."""
    monkeypatch.setenv("PGCLIENTENCODING", "WIN1252")
    name = urlsplit(empty).path[1:]
    await execute(empty, f"ALTER ROLE {USER} IN DATABASE {name} SET client_encoding = 'LATIN1'")
    await migrate(empty + query)
    async with PostgresDatabase(empty + query) as database:
        tasks = TaskStore(database)
        await watch(tasks, "one", name=PERSIAN)
        assert [task.name for task in await tasks.watched()] == [PERSIAN]


@pytest.mark.parametrize("query", ["?schema=watch", "?options=-c search_path=watch", "?currentSchema=watch"])
async def test_a_cluster_lives_in_a_schema_of_its_own(empty: str, query: str) -> None:
    """Its tables are there, and its nodes hear each other and not those of the schema beside it."""
    with pytest.raises(StoreUnavailableError, match="schema"):
        await migrate(empty + query)
    await execute(empty, "CREATE SCHEMA watch")
    await migrate(empty + query)
    await migrate(empty)
    found = await fetch(empty, "SELECT schemaname FROM pg_tables WHERE tablename = 'tasks' ORDER BY 1")
    assert [row["schemaname"] for row in found] == ["public", "watch"]
    heard: dict[str, list[ClusterEvent]] = {"here": [], "there": []}
    listening = {name: asyncio.Event() for name in heard}
    arrived = asyncio.Event()
    here, there = PostgresClusterEvents(empty + query, "here"), PostgresClusterEvents(empty, "there")
    here.disconnected, there.disconnected = listening["here"].set, listening["there"].set
    teller, other_teller = PostgresClusterEvents(empty + query, "teller"), PostgresClusterEvents(empty, "other teller")

    def hear(news: ClusterEvent) -> None:
        heard["here"].append(news)
        arrived.set()

    here.heard, there.heard = hear, heard["there"].append
    async with here, there, teller, other_teller, asyncio.timeout(20):
        for event in listening.values():
            await event.wait()
        other_teller.publish(ClusterEvent(removed=frozenset({1})))
        await other_teller.flush()
        teller.publish(ClusterEvent(removed=frozenset({2})))
        await arrived.wait()
    assert heard["here"] == [ClusterEvent(removed=frozenset({2}))]


async def test_settings_reach_the_session_and_ours_come_last(postgres_server: str) -> None:
    """What cambwatch relies on cannot be switched off by accident."""
    url = f"{postgres_server}?options=-c work_mem=5MB --lock_timeout=0 -c application_name=x&application_name=y"
    assert await setting(url, "work_mem") == "5MB"
    assert await setting(url, "lock_timeout") == "5s"
    assert await setting(url, "application_name") == "cambwatch"


@pytest.mark.parametrize("option", ["-c wrok_mem=5MB", "-c work_mem=much", "-c max_connections=5", "project%3Dep-one"])
async def test_a_setting_that_the_server_refuses_is_a_mistake(postgres_server: str, option: str) -> None:
    """Not a crash, and not something that goes by."""
    with pytest.raises(StoreMisconfiguredError, match="check options"):
        await migrate(f"{postgres_server}?options={option}")


async def test_a_wrong_url_is_a_mistake_here_too(postgres_server: str, monkeypatch) -> None:
    """As where a file has gone since, or a variable of the environment is wrong."""
    with pytest.raises(StoreMisconfiguredError, match="sslmode=bogus: must be disable"):
        PostgresDatabase(f"{postgres_server}?sslmode=bogus")
    with pytest.raises(StoreMisconfiguredError, match="sslrootcert: /nope cannot be read"):
        await migrate(f"{postgres_server}?sslmode=verify-full&sslrootcert=/nope")
    monkeypatch.setenv("PGSSLMODE", "bogus")
    with pytest.raises(StoreMisconfiguredError, match="PGSSLMODE=bogus"):
        await migrate(postgres_server)


async def test_the_password_may_be_elsewhere(postgres_server: str, tmp_path: Path, monkeypatch) -> None:
    """In PGPASSWORD, in a file that the URL names, or in the query."""
    bare = postgres_server.replace(f":{PASSWORD}@", "@")
    pgpass = tmp_path / "pgpass"
    pgpass.write_text(f"*:*:*:{USER}:{PASSWORD}\n")
    pgpass.chmod(0o600)
    assert await setting(f"{bare}?passfile={pgpass}", "jit") == "off"
    assert await setting(f"{bare}?password={PASSWORD}", "jit") == "off"
    with pytest.raises(StoreUnavailableError, match="password"):
        await setting(bare, "jit")
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    assert await setting(bare, "jit") == "off"


async def test_every_reserved_character_may_stand_in_a_password(postgres_server: str) -> None:
    """Percent-encoded, at a real server."""
    name = "ada@work:/?#[]%"
    quoted = name.replace('"', '""')
    await execute(postgres_server, f"CREATE ROLE \"{quoted}\" LOGIN PASSWORD ':/?#[]@!$&(){PASSWORD}*+,;=% é'")
    try:
        where = urlsplit(postgres_server).netloc.rpartition("@")[2]
        encoded = f"%3A%2F%3F%23%5B%5D%40%21%24%26%28%29{PASSWORD}%2A%2B%2C%3B%3D%25%20%C3%A9"
        url = f"postgresql://ada%40work%3A%2F%3F%23%5B%5D%25:{encoded}@{where}/postgres"
        assert await setting(url, "jit") == "off"
    finally:
        await execute(postgres_server, f'DROP ROLE "{quoted}"')


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://u:wrong-canary@no-such-host.invalid/d", "host name cannot be resolved"),
        ("postgresql://u:wrong-canary@127.0.0.1:{port}/d", "check that PostgreSQL runs"),
        ("postgresql:///d?host=/nowhere", "check that PostgreSQL runs"),
    ],
)
async def test_a_server_that_is_not_there_is_named(url: str, said: str) -> None:
    """In plain words, without the password."""
    with pytest.raises(StoreUnavailableError, match=said) as caught:
        await migrate(url.format(port=free_port()))
    assert "wrong-canary" not in str(caught.value)
    assert not isinstance(caught.value, StoreMisconfiguredError)


async def test_something_else_than_postgresql_is_trouble_and_not_a_crash(until) -> None:
    """Such as a web server at that port."""

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    for mode in ("disable", "prefer", "require"):
        with pytest.raises(StoreUnavailableError):
            await migrate(f"postgresql://u:p@127.0.0.1:{port}/d?sslmode={mode}")
    server.close()
