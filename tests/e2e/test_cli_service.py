"""The commands that stay: run, simulate and demo. How they begin, and how they end."""

import asyncio
import json
import re
import signal
import socket
import sqlite3
from urllib.parse import urlsplit

import aiohttp
import pytest
from processes import command, free_port

STATUSES = ["PENDING", "SUCCESS", "ERROR", "TIMEOUT", "PAYMENT_REQUIRED", "EXPIRED", "NOT_FOUND"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_the_daemon_in_good_order(process, camb, number):
    made = await process()
    await made.api.post({"kind": "dub", "task_id": camb.add("dub", after_seconds=3600)})
    made.signal(number)
    assert await made.ended() == 0
    events = [json.loads(line)["event"] for line in made.log.read_text().splitlines()]
    assert [event for event in events if event.startswith("service.")] == [
        "service.started",
        "service.stopping",
        "service.stopped",
    ]


async def test_a_second_process_on_the_same_database_ends_with_a_clear_word(process):
    first = await process()
    second = await process(ready=None)
    ended = await command("run", "--config", str(second.config), cwd=second.config.parent)
    assert ended.status == 75
    assert f"in use by another cambwatch (process {first.pid})" in ended.err
    assert "Traceback" not in ended.err
    assert (await first.api.get("/healthz")).status == 200


async def test_an_address_that_is_taken_is_said_before_anything_is_polled(process, camb):
    made = await process("tasks: [{kind: dub, task_id: a}]", ready=None)
    address = urlsplit(made.url)
    with socket.create_server((address.hostname, address.port)):
        ended = await command("run", "--config", str(made.config), cwd=made.config.parent)
    assert ended.status == 69
    assert f"cannot listen at {address.netloc}" in ended.err
    assert "Traceback" not in ended.err
    assert not camb.simulator.requests


async def test_a_database_from_a_newer_version_is_refused_untouched(daemon, process, tmp_path):
    await (await daemon()).stop()
    made = await process(ready=None)
    database = tmp_path / "cambwatch.db"
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    before = database.read_bytes()
    ended = await command("run", "--config", str(made.config), cwd=tmp_path)
    assert ended.status == 78
    assert "newer cambwatch" in ended.err
    assert "Traceback" not in ended.err
    assert database.read_bytes() == before


async def test_what_cannot_be_run_is_said_in_lines_and_with_a_status_of_its_own(process, tmp_path):
    made = await process(ready=None)
    (tmp_path / "wrong.yaml").write_text("camb: {api_key: k}\npolling: {intervall: 5s}\nroutes: [{notify: [x]}]\n")
    (tmp_path / "cambwatch.db").write_bytes(b"no database at all" * 1000)
    nothing, wrong, damaged = await asyncio.gather(
        command("run", cwd=tmp_path),
        command("run", cwd=tmp_path, CAMBWATCH_CONFIG="wrong.yaml"),
        command("run", "-c", str(made.config), cwd=tmp_path),
    )
    assert nothing.status == 78
    assert "config.example.yaml" in nothing.err
    assert wrong.status == 78
    assert [line.split(":")[0] for line in wrong.err.splitlines()] == ["wrong.yaml", "wrong.yaml"]
    assert "did you mean interval?" in wrong.err
    assert damaged.status == 74
    assert "database" in damaged.err
    assert "Traceback" not in nothing.err + wrong.err + damaged.err


async def test_simulate_says_where_it_is_and_does_what_it_was_told(tmp_path, until):
    port = free_port()
    base_url = f"http://127.0.0.1:{port}/apis"
    seen = []

    async def ask():
        """A task is created, and its polls go wrong as --fault says."""
        async with aiohttp.ClientSession(headers={"x-api-key": "k"}) as session:

            async def created():
                body = {"prompt": "x", "duration": 1}
                try:
                    async with session.post(f"{base_url}/text-to-sound", json=body) as answer:
                        seen.append((await answer.json())["task_id"])
                        return True
                except aiohttp.ClientConnectorError:
                    return False  # not listening yet

            await until(created, timeout_s=20)
            async with session.get(f"{base_url}/text-to-sound/{seen[0]}") as answer:
                seen.append((answer.status, answer.headers["retry-after"]))

    words = ("simulate", "--port", str(port), "--fault", "rate_limited=1", "--retry-after", "7")
    ended = await command(*words, cwd=tmp_path, stop_with=signal.SIGTERM, stop_when=ask())
    assert ended.status == 0
    assert f"pretending to be Camb at {base_url} " in ended.out
    assert seen[1] == (429, "7")


async def test_simulate_refuses_what_it_cannot_do(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        fault, address = await asyncio.gather(
            command("simulate", "--fault", "earthquake=1", cwd=tmp_path),
            command("simulate", "--port", port, cwd=tmp_path),
        )
    assert (fault.status, address.status) == (2, 69)
    assert "earthquake" in fault.err
    assert "rate_limited" in fault.err
    assert f"cannot listen at 127.0.0.1:{port}" in address.err


async def test_the_demo_ends_by_itself_and_shows_every_status(tmp_path):
    ended = await command("demo", cwd=tmp_path)
    assert ended.status == 0, ended.out
    assert ended.err == ""
    for word in (*STATUSES, "registered", "polled", "concluded", "delivered", "signature is right"):
        assert re.search(rf"\b{word}\b", ended.out), word
    assert "WRONG" not in ended.out
    table = ended.out[ended.out.index("What became of them") :]
    assert all(status in table for status in STATUSES)
    assert list(tmp_path.iterdir()) == []
