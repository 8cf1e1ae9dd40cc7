"""`check` and `run` with a PostgreSQL server in store.url: what ends with 78, and what with 74; never a traceback."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import command

from pgbouncer import Pgbouncer, needs_pgbouncer
from postgres_server import PASSWORD, PostgresServer, free_port, new_database


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """For all tests here."""
    with PostgresServer() as server:
        yield server


def configured(folder: Path, url: str) -> Path:
    """A file with this store.url."""
    path = folder / "config.yaml"
    path.write_text(f"camb: {{api_key: abcdef}}\nhttp: {{listen: '127.0.0.1:0'}}\nstore:\n  url: \"{url}\"\n")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("sslmode=bogus", "sslmode=bogus: must be disable, allow, prefer, require, no-verify, verify-ca or "),
        ("sslmode=verify-full&sslrootcert=/nope", "sslrootcert: /nope cannot be read"),
        ("sslmode=verify-full&sslrootcert=/etc/hostname", "must hold a CA certificate in PEM"),
        ("sslmode=require&sslcert=/nope&sslkey=/nope", "sslkey: /nope cannot be read"),
        ("port=99999", "the port must be a number from 1 to 65535"),
        ("sslmod=require", "did you mean sslmode?"),
        ("target_session_attrs=standby", "use read-write"),
    ],
)  # fmt: skip
async def test_a_mistake_in_the_url_is_found_by_check_and_ends_run_with_78(server, tmp_path, query, said):
    path = configured(tmp_path, f"{server.url()}?{query}")
    for word in ("check", "run"):
        ended = await command(word, "--config", str(path), cwd=tmp_path)
        assert ended.status == 78
        assert f"{path}:4:8: store.url: " in ended.err
        assert said in ended.err
        assert "Traceback" not in ended.err
        assert PASSWORD not in ended.err


async def test_a_variable_of_libpq_that_is_wrong_ends_with_78(server, tmp_path):
    path = configured(tmp_path, server.url())
    for word in ("check", "run"):
        ended = await command(word, "--config", str(path), cwd=tmp_path, PGSSLMODE="bogus")
        assert ended.status == 78
        assert "PGSSLMODE=bogus: must be" in ended.err


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
async def test_a_database_that_is_not_utf8_ends_with_78_and_its_encoding(server, tmp_path, encoding):
    url = await asyncio.to_thread(new_database, server.url(), encoding=encoding)
    ended = await command("run", "--config", str(configured(tmp_path, url)), cwd=tmp_path)
    assert ended.status == 78
    assert f"the encoding {encoding}" in ended.err
    assert "ENCODING 'UTF8'" in ended.err
    assert "Traceback" not in ended.err


@needs_pgbouncer
async def test_a_pooler_that_shares_sessions_ends_with_78(server, tmp_path):
    with Pgbouncer(server.port, pool_mode="transaction") as bouncer:
        path = configured(tmp_path, server.url(port=bouncer.port))
        ended = await command("run", "--config", str(path), cwd=tmp_path)
    assert ended.status == 78
    assert "pool_mode = session" in ended.err
    assert "Traceback" not in ended.err


async def test_what_may_pass_by_itself_ends_with_74(server, tmp_path):
    for url, said in (
        (server.url(port=free_port()), "check that PostgreSQL runs"),
        (server.url().replace(PASSWORD, "wrong-canary"), "password authentication failed"),
        (server.url("nowhere"), "create the database"),
        (f"{server.url()}?sslmode=require", "does not support TLS"),
    ):
        ended = await command("run", "--config", str(configured(tmp_path, url)), cwd=tmp_path)
        assert ended.status == 74
        assert said in ended.err
        assert "Traceback" not in ended.err
        assert "canary" not in ended.err


async def test_check_warns_that_channel_binding_is_not_used(server, tmp_path):
    path = configured(tmp_path, f"{server.url()}?sslmode=require&channel_binding=require")
    ended = await command("check", "--config", str(path), cwd=tmp_path)
    assert ended.status == 0
    assert f"warning: {path}:4:8: store.url: channel_binding=require has no effect" in ended.err


@needs_pgbouncer
async def test_a_task_is_watched_to_its_end_behind_pgbouncer(server, process, camb, until):
    url = await asyncio.to_thread(new_database, server.url())
    with Pgbouncer(server.port, pool_mode="session") as bouncer:
        made = await process(f"store: {{url: '{url.replace(f':{server.port}/', f':{bouncer.port}/')}'}}")
        await made.api.post({"kind": "dub", "task_id": camb.add("dub", "one", after_seconds=0.2)})
        await until(lambda: made.said("task.concluded"))
        assert await made.stop() == 0
        assert made.said("cluster.disconnected") == []
