"""The command line as scripts use it: what it prints and how it ends, asked of a daemon that runs."""

import asyncio
import json
from collections.abc import Callable

import pytest
import yaml
from jsonschema import Draft202012Validator
from processes import command, free_port
from receivers import Reply

import cambwatch

HOUR_S = 3600
TOKEN = "a-token-that-nobody-guesses"


@pytest.fixture
def cli(tmp_path) -> Callable:
    """Runs a command, in a folder whose config.yaml leads to the daemon *made*."""

    async def run(made, *words, **environ):
        host, _, port = made.url.removeprefix("http://").partition(":")
        document = {"http": {"listen": f"{host}:{port}", "token": "${TOKEN:-}" if made.config.http.bearer else None}}
        folder = tmp_path / "client"
        folder.mkdir(exist_ok=True)
        (folder / "config.yaml").write_text(yaml.safe_dump(document))
        return await command(*words, cwd=folder, **environ)

    return run


async def test_a_task_is_watched_shown_listed_and_left_alone(daemon, camb, cli):
    """With a task_id and a name that mean something to URLs and to terminals."""
    made = await daemon('destinations: {hook: {type: webhook, url: "http://127.0.0.1:9/", allow_private: true}}')
    odd = "../odd-id/🎬"
    camb.add("dub", odd, after_seconds=HOUR_S)
    words = ("--name", "[bold]Pilot[/] :warning:", "--label", "show=a=b", "--label", "team=", "--group", "g")
    watched = await cli(made, "watch", "dub", odd, *words, "--notify", "hook", "--json")
    assert (watched.status, watched.err) == (0, "")
    task = watched.document
    assert (task["task_id"], task["name"]) == (odd, "[bold]Pilot[/] :warning:")
    assert (task["labels"], task["group"], task["notify"]) == ({"show": "a=b", "team": ""}, "g", ["hook"])

    plain, as_json, table, filtered = await asyncio.gather(
        cli(made, "show", "end-to-end-dubbing", odd),
        cli(made, "show", "dub", odd, "--json"),
        cli(made, "tasks", "--status", "PENDING", "--kind", "dub", "--label", "show=a=b", "--group", "g"),
        cli(made, "tasks", "--status", "SUCCESS", "--json"),
    )
    assert as_json.document.keys() == task.keys()
    assert ["status", "PENDING"] in [line.split() for line in plain.out.splitlines()]
    assert odd in table.out
    assert "[bold]Pilot[/] :warning:" in table.out
    assert filtered.document == []
    unwatched = await cli(made, "unwatch", "dub", odd)
    assert (unwatched.status, unwatched.out) == (0, f"dub {odd} is no longer watched\n")
    assert (await made.api.get("/v1/tasks")).document["items"][0]["status"] == "REMOVED"


async def test_listings_have_json_and_cut_no_id_in_a_pipe(daemon, camb, cli):
    made = await daemon("polling: {kinds: {dub: {interval: 15s, deadline: 3d}}}")
    wish = {"kind": "dub", "task_id": "x1" * 100, "name": "n" * 200}
    await made.api.post(wish)
    tasks, as_json, kinds, kinds_as_json = await asyncio.gather(
        *(cli(made, *words) for words in (["tasks"], ["tasks", "--json"], ["kinds"], ["kinds", "--json"]))
    )
    assert any(wish["task_id"] in line and wish["name"] in line for line in tasks.out.splitlines())
    assert [task["task_id"] for task in as_json.document] == [wish["task_id"]]
    assert [line.split() for line in kinds.out.splitlines() if line.startswith("dub ")] == [
        ["dub", "15", "s", "72", "h", "0", "fixed", "end-to-end-dubbing"]
    ]
    assert len(kinds_as_json.document) == 17


async def test_wait_tells_by_its_exit_status_how_it_went(daemon, camb, cli):
    made = await daemon()
    wishes = {
        "SUCCESS": camb.add("tts", after_seconds=0.5),
        "ERROR": camb.add("tts", status="ERROR", message="too [long]"),
        "PENDING": camb.add("tts", after_seconds=HOUR_S),
        "REMOVED": camb.add("tts", after_seconds=HOUR_S),
    }
    await made.api.post([{"kind": "tts", "task_id": task_id} for task_id in wishes.values()])
    await made.api.ask("DELETE", f"/v1/tasks/tts/{wishes['REMOVED']}")
    success, error, pending, removed, unknown, usage = await asyncio.gather(
        cli(made, "wait", "tts", wishes["SUCCESS"], "--json"),
        cli(made, "wait", "tts", wishes["ERROR"]),
        cli(made, "wait", "tts", wishes["PENDING"], "--timeout", "200ms"),
        cli(made, "wait", "tts", wishes["REMOVED"]),
        cli(made, "wait", "tts", "unheard-of"),
        cli(made, "wait", "tts", "a", "--timeout", "soon"),
    )
    assert (success.status, success.document["status"]) == (0, "SUCCESS")
    assert (error.status, removed.status) == (1, 1)
    assert "too [long]" in error.out
    assert (pending.status, pending.out) == (4, "")
    assert "still pending" in pending.err
    assert (unknown.status, unknown.out) == (2, "")
    assert "nobody registered" in unknown.err
    assert usage.status == 2
    assert "no duration" in usage.err


async def test_an_id_that_is_empty_or_none_is_a_mistake_of_usage(daemon, cli):
    made = await daemon()
    empty = await asyncio.gather(*(cli(made, word, "dub", "") for word in ("watch", "show", "wait", "unwatch")))
    unfilled = await asyncio.gather(*(cli(made, word, "dub", "{{x}}") for word in ("watch", "show", "wait", "unwatch")))
    for ended in (*empty, *unfilled):
        assert (ended.status, ended.out) == (2, "")
    assert all("empty" in ended.err for ended in empty)
    assert all("is a template that was not filled in: give the task_id" in ended.err for ended in unfilled)


async def test_watch_can_wait_for_the_end_as_well(daemon, camb, cli):
    made = await daemon()
    task_id = camb.add("tts", status="TIMEOUT", after_seconds=0.3)
    ended = await cli(made, "watch", "tts", task_id, "--wait", "--json")
    assert (ended.status, ended.document["status"]) == (1, "TIMEOUT")


async def test_wait_that_is_interrupted_says_neither_success_nor_failure(receivers, tmp_path):
    receivers.otherwise = Reply(held=asyncio.Event())  # a daemon in whose word nothing ends
    (tmp_path / "config.yaml").write_text(f"http: {{listen: '{receivers.url.removeprefix('http://')}'}}")
    ended = await command("wait", "dub", "a", cwd=tmp_path, stop_when=receivers.until(lambda: receivers.requests, 20))
    assert (ended.status, ended.out) == (130, "")
    assert "Traceback" not in ended.err


async def test_what_the_daemon_refuses_is_said_in_its_words(daemon, cli):
    made = await daemon()
    kind, several, label = await asyncio.gather(
        cli(made, "watch", "dubb", "a"),
        cli(made, "watch", "dub", "", "--notify", "nobody", "--name", "n" * 300),
        cli(made, "watch", "dub", "a", "--label", "no-equals-sign"),
    )
    assert (kind.status, kind.out) == (2, "")
    assert "did you mean dub?" in kind.err
    assert several.status == 2
    assert "#/task_id: is empty" in several.err
    assert "#/name: is longer than 200" in several.err
    assert label.status == 2
    assert "write name=value" in label.err
    assert "Traceback" not in kind.err + several.err + label.err


async def test_the_token_of_the_configuration_is_sent(daemon, cli):
    made = await daemon(f"http: {{token: {TOKEN}}}")
    right, wrong = await asyncio.gather(cli(made, "kinds", "--json", TOKEN=TOKEN), cli(made, "kinds", TOKEN="wrong"))
    assert (right.status, wrong.status) == (0, 2)
    assert "http.token" in wrong.err
    assert TOKEN not in right.out + right.err + wrong.out + wrong.err


async def test_a_unix_socket_is_found_from_the_configuration(daemon, tmp_path):
    await daemon(f"http: {{listen: 'unix:{tmp_path}/s'}}")
    (tmp_path / "other.yaml").write_text(f"http: {{listen: 'unix:{tmp_path}/s'}}")
    ended = await command("tasks", "--json", cwd=tmp_path, CAMBWATCH_CONFIG="other.yaml")
    assert (ended.status, ended.document) == (0, [])


async def test_without_a_daemon_every_command_says_so(tmp_path):
    (tmp_path / "config.yaml").write_text(f"http: {{listen: '127.0.0.1:{free_port()}'}}")
    for ended in await asyncio.gather(
        *(command(*words, cwd=tmp_path) for words in (["tasks"], ["wait", "dub", "a", "--timeout", "1s"]))
    ):
        assert (ended.status, ended.out) == (3, "")
        assert ended.err.startswith("no cambwatch answers at http://127.0.0.1:")
        assert "cambwatch run" in ended.err
        assert "Traceback" not in ended.err


async def test_without_a_daemon_the_version_and_the_schema_are_printed(tmp_path):
    version, schema = await asyncio.gather(command("--version", cwd=tmp_path), command("schema", cwd=tmp_path))
    assert (version.status, version.out, version.err) == (0, f"{cambwatch.__version__}\n", "")
    assert (schema.status, schema.err) == (0, "")
    Draft202012Validator.check_schema(schema.document)
    assert "destinations" in schema.document["properties"]


async def test_check_says_what_a_right_configuration_holds(tmp_path):
    path = tmp_path / "right.yaml"
    path.write_text("camb: {api_key: '${KEY}'}\ntasks: [{kind: dub, task_id: a}]\n")
    plain, as_json = await asyncio.gather(
        command("check", "--config", str(path), cwd=tmp_path, KEY="abcdef"),
        command("check", "--json", cwd=tmp_path, CAMBWATCH_CONFIG=str(path), KEY="abcdef"),
    )
    assert (plain.status, plain.out) == (0, f"{path}: ok, 1 account, 0 destinations, 0 routes, 1 task\n")
    assert (as_json.status, as_json.document["ok"], as_json.document["path"]) == (0, True, str(path))


async def test_check_says_every_mistake_with_its_place(tmp_path):
    path = tmp_path / "wrong.yaml"
    path.write_text("cambb: {}\ncamb: {api_key: k}\npolling:\n  interval: soon\n  intervall: 5s\n")
    plain, as_json = await asyncio.gather(
        command("check", "-c", str(path), cwd=tmp_path), command("check", "-c", str(path), "--json", cwd=tmp_path)
    )
    assert (plain.status, plain.out) == (78, "")
    assert [line.split(": ")[:2] for line in plain.err.splitlines()] == [
        [f"{path}:{place}", key]
        for place, key in (("1:1", "cambb"), ("4:13", "polling.interval"), ("5:3", "polling.intervall"))
    ]
    assert "did you mean camb?" in plain.err
    assert as_json.status == 78
    assert (as_json.document["ok"], as_json.document["errors"]) == (False, plain.err.splitlines())


async def test_wait_holds_on_to_a_daemon_that_is_restarted(receivers, tmp_path):
    """An upgrade must not end every script that waits; one that never answered is said to be unreachable."""

    def task(status):
        return json.dumps({"icon": "?", "kind": "dub", "status": status, "polls": 1}).encode()

    receivers.script("/v1/tasks/dub/a", Reply(200, task("PENDING")), Reply(cut=True), Reply(200, task("SUCCESS")))
    receivers.script("/v1/tasks/dub/b", Reply(cut=True))
    (tmp_path / "config.yaml").write_text(f"http: {{listen: '{receivers.url.removeprefix('http://')}'}}")
    restarted, silent = await asyncio.gather(
        command("wait", "dub", "a", "--json", cwd=tmp_path), command("wait", "dub", "b", "--json", cwd=tmp_path)
    )
    assert (restarted.status, silent.status) == (0, 3)
