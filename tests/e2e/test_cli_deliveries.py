"""The commands about deliveries and destinations: asked of a daemon that runs, or of the configuration alone."""

import asyncio
import json
from collections.abc import Callable

import pytest
import yaml
from events import HOOK, ended, hook, settings, watch
from processes import command, free_port
from receivers import Receivers, Reply

SECRET = "whsec_" + "A" * 43 + "="


@pytest.fixture
async def raw():
    """A Camb for which every task has ended in an error, so that no result is to be fetched."""
    async with Receivers().serve() as made:
        made.otherwise = ended()
        yield made


@pytest.fixture
def cli(tmp_path) -> Callable:
    """Runs a command, in a folder whose config.yaml leads to the daemon *made*."""

    async def run(made, *words):
        (tmp_path / "config.yaml").write_text(f"http: {{listen: '{made.url.removeprefix('http://')}'}}")
        return await command(*words, cwd=tmp_path)

    return run


@pytest.fixture
def alone(tmp_path) -> Callable:
    """Runs a command on a configuration of which no daemon runs."""

    async def run(document, *words):
        laid = {"camb": {"api_key": "k"}, "http": {"listen": f"127.0.0.1:{free_port()}"}, **document}
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(laid))
        return await command(*words, cwd=tmp_path)

    return run


async def dead(made, until, count):
    """Wait until *count* deliveries are dead; returns their ids, newest first."""

    async def items():
        return (await made.api.get("/v1/deliveries?state=dead")).document["items"]

    async def is_so():
        return len(await items()) == count

    await until(is_so)
    return [one["id"] for one in await items()]


async def test_deliveries_are_listed_shown_and_tried_again(daemon, receivers, raw, cli, until):
    receivers.script(HOOK, *[Reply(410, b"[bold]gone[/]\nfor good")] * 3, Reply())
    made = await daemon(settings(camb={"base_url": raw.url}, destinations={"hook": hook(receivers)}))
    await watch(made.api, "dub", "a", "b", "c", name="Pilot")
    ids = await dead(made, until, 3)
    table, as_json, one, one_as_json = await asyncio.gather(
        cli(made, "deliveries", "--state", "dead", "--state", "pending", "--destination", "hook"),
        cli(made, "deliveries", "--task-id", "b", "--json"),
        cli(made, "deliveries", ids[0]),
        cli(made, "deliveries", ids[0], "--json"),
    )
    assert [line.split()[0] for line in table.out.splitlines()[1:]] == ids
    assert all("dub" in line and "(Pilot)" in line for line in table.out.splitlines()[1:])
    assert [item["task_id"] for item in as_json.document] == ["b"]
    assert "[bold]gone[/] for good" in one.out
    assert [past["http_status"] for past in one_as_json.document["history"]] == [410]

    by_id = await cli(made, "retry", ids[0])
    assert (by_id.status, by_id.out) == (0, "1 queued\n")
    await receivers.until(lambda: len(receivers.at(HOOK)) == 4)
    none = await cli(made, "retry", "--since", "2999-01-01T00:00:00Z", "--destination", "hook")
    assert (none.status, none.out) == (0, "0 queued\n")
    recent = await cli(made, "retry", "--since", "1h", "--state", "dead")
    assert (recent.status, recent.out) == (0, "2 queued\n")
    await receivers.until(lambda: len(receivers.at(HOOK)) == 6)
    every = await cli(made, "retry", "--all-dead")
    assert (every.status, every.out) == (0, "0 queued\n")


async def test_an_alert_is_shown_with_the_destination_it_is_about(daemon, receivers, raw, cli, until):
    receivers.script("/team", Reply(503))
    team = hook(receivers, "/team", fallback="pager", alert_after="300ms")
    made = await daemon(
        settings(camb={"base_url": raw.url}, destinations={"team": team, "pager": hook(receivers, "/pager")})
    )
    await watch(made.api, "dub", "t", notify=["team"])
    await receivers.until(lambda: receivers.at("/pager"))
    delivery_id = receivers.at("/pager")[0].headers["webhook-id"]
    table, one = await asyncio.gather(
        cli(made, "deliveries", "--destination", "pager"), cli(made, "deliveries", delivery_id)
    )
    assert "cambwatch.destination.down team" in table.out.splitlines()[1]
    assert one.out.splitlines()[0].split() == ["subject", "cambwatch.destination.down", "team"]


async def test_a_retry_wants_to_know_of_what(daemon, cli):
    """All that is dead is not tried again for want of a word."""
    made = await daemon()
    words = ([], ["msg_1", "--all-dead"], ["msg_1", "--state", "dead"], ["--all-dead", "--destination", "hook"])
    for ended_ in await asyncio.gather(*(cli(made, "retry", *more) for more in words)):
        assert (ended_.status, ended_.out) == (2, "")
        assert "--all-dead" in ended_.err
    unknown, typo, since = await asyncio.gather(
        cli(made, "retry", "msg_1"), cli(made, "retry", "--state", "ded"), cli(made, "retry", "--since", "once")
    )
    assert [one.status for one in (unknown, typo, since)] == [2, 2, 2]
    assert "no delivery with this id" in unknown.err
    assert "#/state" in typo.err or "'dead'" in typo.err
    assert "RFC 3339" in since.err


async def test_a_destination_is_tested(daemon, receivers, cli):
    receivers.script("/bad", Reply(403, b"who are you?"))
    made = await daemon(settings(destinations={"good": hook(receivers), "bad": hook(receivers, "/bad")}))
    good, bad, as_json, unknown = await asyncio.gather(
        cli(made, "test", "good"), cli(made, "test", "bad"), cli(made, "test", "good", "--json"),
        cli(made, "test", "god"),
    )  # fmt: skip
    assert good.status == 0
    assert good.out.startswith("good: accepted, HTTP 200, ")
    assert (bad.status, bad.out.splitlines()[1]) == (1, "who are you?")
    assert bad.out.startswith("bad: auth, HTTP 403, ")
    assert (as_json.status, as_json.document["outcome"]) == (0, "accepted")
    assert (unknown.status, unknown.out) == (2, "")
    assert "did you mean good?" in unknown.err


async def test_a_message_is_shown_without_its_secrets_and_without_a_daemon(alone):
    chat = "https://hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX"
    document = {
        "destinations": {
            "hook": {
                "type": "webhook", "url": "https://user-secret.example/path-secret?key=query-secret",
                "secret": SECRET, "headers": {"X-Token": "header-secret"},
            },
            "chat": {"type": "slack", "url": chat},
        }
    }  # fmt: skip
    plain, as_json, slack = await asyncio.gather(
        alone(document, "render", "dub", "ERROR", "--destination", "hook"),
        alone(document, "render", "end-to-end-dubbing", "success", "--destination", "hook", "--json"),
        alone(document, "render", "dub", "PAYMENT_REQUIRED", "--destination", "chat"),
    )
    assert [one.status for one in (plain, as_json, slack)] == [0, 0, 0], plain.err
    head, _, body = plain.out.partition("\n\n")
    assert head.startswith("POST https://user-secret.example/...\n")
    assert {"x-token: ...", "content-type: application/json", "webhook-signature: ..."} <= set(head.splitlines())
    assert json.loads(body)["type"] == "camb.task.error"
    assert json.loads(as_json.document["body"])["data"]["kind"] == "dub"
    assert as_json.document["headers"]["webhook-id"].startswith("msg_")
    assert "blocks" in json.loads(slack.out.partition("\n\n")[2]) or "attachments" in slack.out
    for secret in ("path-secret", "query-secret", "header-secret", "T00000000", SECRET):
        assert secret not in plain.out + as_json.out + slack.out


async def test_who_would_hear_is_told_without_a_daemon(alone):
    there = {name: {"type": "webhook", "url": "https://hooks.example/x"} for name in ("a", "b", "c")}
    document = {
        "destinations": there,
        "routes": [
            {"when": {"status": ["ERROR"]}, "notify": ["b"]},
            {"when": {"label": {"show": "pilot"}, "account": ["default"]}, "notify": ["a", "b"]},
            {"when": {"group": ["g"]}, "notify": ["c"]},
        ],
    }
    error = await alone(document, "routes", "dub", "ERROR", "--json")
    labelled = await alone(document, "routes", "dub", "ERROR", "--label", "show=pilot")
    group = await alone(document, "routes", "tts", "SUCCESS", "--group", "g", "--account", "other", "--json")
    nobody = await alone(document, "routes", "tts", "SUCCESS")
    unrouted = await alone({"destinations": there}, "routes", "tts", "SUCCESS")
    assert error.document == [{"destination": "b", "routes": ["routes[0]"]}], error.err
    rows = [line.split(maxsplit=1) for line in labelled.out.splitlines()[1:]]
    assert [[name, by.strip()] for name, by in rows] == [["a", "routes[1]"], ["b", "routes[0], routes[1]"]]
    assert group.document == [{"destination": "c", "routes": ["routes[2]"]}]
    assert (nobody.status, nobody.out, nobody.err) == (0, "", "no destination\n")
    assert [line.split()[0] for line in unrouted.out.splitlines()[1:]] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["render", "dubb", "ERROR", "--destination", "hook"], "did you mean dub?"),
        (["render", "dub", "PENDING", "--destination", "hook"], "no status that a task ends with"),
        (["render", "dub", "ERROR", "--destination", "hock"], "no destination 'hock'"),
        (["routes", "dub", "DONE"], "no status that a task ends with"),
        (["routes", "dub", "ERROR", "--label", "a"], "write name=value"),
    ],
)
async def test_what_there_is_not_is_a_mistake_of_usage(alone, words, said):
    ended_ = await alone({"destinations": {"hook": {"type": "webhook", "url": "https://hooks.example/x"}}}, *words)
    assert (ended_.status, ended_.out) == (2, "")
    assert said in ended_.err
