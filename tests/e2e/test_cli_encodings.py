"""Commands on terminals that are not UTF-8, in locales that are not, and with readers that have gone."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator
from processes import command, environment
from receivers import Reply

NAME = "Überfall 映画 🎬"
HOUR_S = 3600
C_LOCALE = {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
ENCODINGS = {
    "ascii": {"PYTHONIOENCODING": "ascii:strict"},
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "C locale": C_LOCALE,
}
pytestmark = pytest.mark.timeout(180)  # many processes, and Python starts slowly on a busy machine


def encoding(name):
    return "latin-1" if name == "latin-1" else "ascii"


@pytest.fixture
async def made(daemon, camb, receivers, tmp_path):
    """A daemon that has seen a SUCCESS, an ERROR and a delivery, all named in letters that few encodings have."""
    receivers.script("/hook", Reply(200, "好".encode()))
    text = f'destinations: {{hook: {{type: webhook, url: "{receivers.url}/hook", allow_private: true}}}}'
    started = await daemon(f"polling: {{interval: 500ms}}\n{text}")
    camb.add("tts", "good", after_seconds=0)
    camb.add("tts", "bad", status="ERROR", message="zu lang: ü 長 🎬")
    camb.add("tts", "pending", after_seconds=HOUR_S)
    for task_id in ("good", "bad", "pending"):
        await started.api.post({"kind": "tts", "task_id": task_id, "name": NAME})
    for task_id in ("good", "bad"):
        await started.api.get(f"/v1/tasks/tts/{task_id}?wait=20s")
    await receivers.until(lambda: len(receivers.requests) == 2)
    document = {
        "camb": {"api_key": "k"},
        "http": {"listen": started.url.removeprefix("http://")},
        "store": {"url": started.config.store.url},
        "destinations": {
            "hook": {"type": "webhook", "url": "https://example.com/", "template": '{"名": "{{ type }} 🎬"}'}
        },
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(document))
    (tmp_path / "wrong.yaml").write_text("Schlüssel: 映画\n")
    return started


def lines(text):
    return {part for line in text.splitlines() for part in line.split()}


async def run(made, tmp_path, name, *words):
    return await command(*words, cwd=tmp_path, encoding=encoding(name), **ENCODINGS[name])


@pytest.mark.parametrize("name", ENCODINGS)
async def test_wait_exits_with_what_the_task_says(made, tmp_path, name):
    good, bad, as_json = await asyncio.gather(
        run(made, tmp_path, name, "wait", "tts", "good"),
        run(made, tmp_path, name, "wait", "tts", "bad"),
        run(made, tmp_path, name, "wait", "tts", "good", "--json"),
    )
    assert (good.status, bad.status, as_json.status) == (0, 1, 0), good.err
    assert {"SUCCESS", "?"} <= lines(good.out)
    assert ("Überfall" in good.out) == (name == "latin-1")
    assert "zu lang: " in bad.out
    assert as_json.out.isascii()
    assert as_json.document["name"] == NAME
    assert "Traceback" not in good.err + bad.err + as_json.err


READING = [
    ["--version"],
    ["--help"],
    ["check"],
    ["kinds"],
    ["tasks", "--status", "SUCCESS"],
    ["deliveries"],
    ["show", "tts", "good"],
    ["routes", "tts", "SUCCESS"],
    ["render", "tts", "SUCCESS", "--destination", "hook"],
]
WITH_JSON = [words for words in READING if not words[0].startswith("--")]


async def test_every_command_prints_on_a_terminal_that_knows_ascii_only(made, tmp_path):
    for words in READING:
        ended = await run(made, tmp_path, "ascii", *words)
        assert (ended.status, ended.err) == (0, ""), words
        assert ended.out
    for words in WITH_JSON:  # JSON is ASCII on every terminal, so the usual one shows it
        ended = await command(*words, "--json", cwd=tmp_path, encoding="ascii")
        assert (ended.status, ended.err) == (0, ""), words
        assert ended.document
        assert ("\\u" in ended.out) == (words[0] in {"deliveries", "render", "show", "tasks"}), words


async def test_commands_that_change_something_print_on_a_terminal_that_knows_ascii_only(made, tmp_path):
    watched = await run(made, tmp_path, "C locale", "watch", "tts", "new", "--name", NAME, "--group", "映")
    assert (watched.status, watched.err) == (0, "")
    new = (await made.api.get("/v1/tasks/tts/new")).document
    assert (new["name"], new["group"]) == (NAME, "映")
    listed = await run(made, tmp_path, "C locale", "tasks", "--group", "映", "--json")
    assert [task["task_id"] for task in listed.document] == ["new"]
    for words, status, out in (
        (["unwatch", "tts", "pending"], 0, "pending"),
        (["watch", "tts", "名", "--json"], 0, "\\u540d"),
        (["unwatch", "tts", "名"], 0, "?"),
        (["test", "hook"], 0, "accepted"),
        (["retry", "--destination", "hook"], 0, "queued"),
        (["backup", "名.db"], 0, "?"),
        (["watch", "ü", "a"], 2, ""),
        (["wait", "tts", "a", "--timeout", "ü"], 2, ""),
        (["watch", "tts", "a", "--label", "ü"], 2, ""),
        (["check", "--config", "wrong.yaml"], 78, ""),
        (["run", "--config", "wrong.yaml"], 78, ""),
        (["tasks", "--config", "名.yaml"], 78, ""),
    ):
        ended = await run(made, tmp_path, "C locale", *words)
        assert ended.status == status, (words, ended.err)
        assert out in ended.out
        assert bool(ended.err) == (status != 0)
        assert "Traceback" not in ended.err


async def test_the_schema_is_ascii(tmp_path):
    schema = await command("schema", cwd=tmp_path, encoding="ascii", **C_LOCALE)
    assert schema.status == 0
    Draft202012Validator.check_schema(schema.document)


async def test_the_demo_degrades_its_table(tmp_path):
    ended = await command("demo", cwd=tmp_path, encoding="ascii", **C_LOCALE)
    assert (ended.status, ended.err) == (0, ""), ended.out
    assert "| kind" in ended.out
    assert "SUCCESS" in ended.out


GOOD_WAIT = ["wait", "tts", "good"]
BAD_WAIT = ["wait", "tts", "bad", "--json"]


@pytest.mark.parametrize(
    ("words", "status"),
    [(["tasks"], 0), (["kinds", "--json"], 0), (["schema"], 0), (["check"], 0), (GOOD_WAIT, 0), (BAD_WAIT, 1)],
)
async def test_a_reader_that_has_gone_changes_no_exit_status(made, tmp_path, words, status):
    reading, writing = os.pipe()
    os.close(reading)
    child = await start(tmp_path, words, stdout=writing)
    os.close(writing)
    _, err = await child.communicate()
    assert (child.returncode, err) == (status, b"")


@pytest.mark.parametrize("words", [["tasks", "--json"], GOOD_WAIT])
async def test_output_on_a_full_disk_is_neither_success_nor_a_failed_task(made, tmp_path, words):
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    full = os.open("/dev/full", os.O_WRONLY)
    child = await start(tmp_path, words, stdout=full)
    os.close(full)
    _, err = await child.communicate()
    assert child.returncode == 74
    assert err == b"cannot write to standard output: No space left on device\n"


@pytest.mark.parametrize(
    ("closed", "task_id", "status"),
    [("0<&-", "good", 0), ("1>&-", "good", 0), ("2>&-", "good", 0), ("0<&- 1>&- 2>&-", "bad", 1)],
)
async def test_commands_work_without_standard_streams(made, tmp_path, closed, task_id, status):
    shell = f'exec "$0" -m cambwatch wait tts {task_id} {closed}'
    child = await asyncio.create_subprocess_exec(
        *("sh", "-c", shell, sys.executable),
        env=environment(),
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await child.communicate()
    assert (child.returncode, err) == (status, b"")
    assert (b"task_id" in out) == ("1>&-" not in closed)


async def start(folder, words, **streams):
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cambwatch", *words),
        env=environment(),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        **streams,
    )
