"""The log of the real process: no secret in it, whatever goes wrong; one JSON document a line; names from a list."""

import ast
import json
import re
from pathlib import Path

from events import ended, hear, hook, says, settings, watch
from processes import free_port
from receivers import Receivers, Reply

import cambwatch

API_KEY = "CANARY-api-key"
TOKEN = "CANARY-token-of-the-intake"
SIGNING = "whsec_" + "CANARYsigning" * 3 + "A="
HEADER = 'Bearer CANARY header (value) "quoted"'
PATH = "/hooks/CANARY-path/services?token=CANARY-query"
PRESIGNED = "https://cdn.example/CANARY-file.flac?X-Signature=CANARY-signature"

EVENTS = {
    "account.over_budget": "warning",
    "account.paused": "error",
    "account.resumed": "warning",
    "account.rate_limited": "warning",
    "account.within_budget": "info",
    "camb.recovered": "info",
    "camb.unreachable": "warning",
    "clock.jumped": "warning",
    "config.warning": "warning",
    "config.restart_required": "warning",
    "config.unchanged": "info",
    "config.refused": "error",
    "config.reloaded": "info",
    "deliveries.unknown_destination": "warning",
    "deliveries.requeued": "info",
    "breaker.closed": "info",
    "breaker.opened": "warning",
    "delivery.attempted": "error info warning",
    "connections.limited": "info",
    "destination.down": "warning",
    "durations.changed": "info",
    "durations.unreadable": "warning",
    "destination.recovered": "info",
    "destination.tested": "info",
    "delivery.internal_error": "error",
    "garbage.collected": "debug",
    "lease.lost": "warning",
    "log.dropped": "warning",
    "nodes.changed": "info",
    "pause.interpreted": "info warning",
    "cluster.disconnected": "warning",
    "tasks.acquired": "info",
    "event.unreadable": "error",
    "request.failed": "error",
    "result.missing": "warning",
    "service.crashed": "error",
    "service.cut_short": "warning",
    "service.started": "info",
    "service.stopped": "info",
    "service.stopping": "info",
    "store.unavailable": "warning",
    "systemd.unreachable": "warning",
    "task.concluded": "info",
    "tasks.pruned": "info",
    "task.polled": "debug",
    "task.postponed": "error",
    "task.registered": "info",
    "task.removed": "info",
    "task.unknown_account": "warning",
    "task.unknown_status": "warning",
    "watchdog.withheld": "warning",
}
"""What a log line can be, and its levels: people search for these names. The README has the same list."""


def echo(status):
    """An answer that shows everything it was sent, as some servers do."""
    words = (
        f"Cannot POST {PATH} with {API_KEY}, {HEADER}, {SIGNING}; see {PRESIGNED} and https:\\/\\/cdn.example\\/CANARY"
    )
    return Reply(status, words.encode())


async def test_no_secret_is_ever_logged(process, receivers, until):
    """A whole flow at level debug: ends with results, refusals that echo, receivers and a Camb that are not there."""
    receivers.script(PATH.partition("?")[0], echo(500), echo(400), echo(429), Reply())
    receivers.script("/slack" + PATH.partition("?")[0], echo(404))
    async with Receivers().serve() as raw:
        raw.script("/dub/ok", says({"detail": f"{API_KEY} {PRESIGNED}"}, status=500), says({"status": PRESIGNED}),
                   ended("SUCCESS", 5))  # fmt: skip
        raw.script("/dub-result/5", echo(500), says({"audio_url": PRESIGNED, "video_url": PRESIGNED + "2"}))
        raw.script(
            "/dub/failed", says({"status": "ERROR", "message": f"cannot read {PRESIGNED}", "exception_reason": "X"})
        )
        raw.script("/dub/gone", says({"detail": f"no such task, {API_KEY}"}, status=404))
        raw.script("/dub/refused", says({"detail": f"bad key {API_KEY}"}, status=401))
        headers = {"authorization": HEADER, "x-other": "CANARY-other"}
        common = {"headers": headers, "secret": SIGNING}
        destinations = {
            "echoes": hook(receivers, PATH, **common),
            "team": hook(receivers, "/slack" + PATH) | {"type": "slack", "headers": headers},
            "refuses": hook(receivers, PATH, **common) | {"url": f"http://127.0.0.1:{free_port()}{PATH}"},
            "unknown": hook(receivers, PATH, **common) | {"url": f"http://nowhere.invalid{PATH}"},
        }
        accounts = {name: {"api_key": f"CANARY-key-of-{name}", "base_url": raw.url} for name in ("b", "gone")}
        accounts["gone"]["base_url"] = f"http://127.0.0.1:{free_port()}/CANARY-base"
        made = await process(
            settings(
                camb={"base_url": raw.url, "api_key": API_KEY, "accounts": accounts},
                polling={"max_interval": "100ms"},
                http={"token": TOKEN},
                destinations=destinations,
            )
        )
        await watch(made.api, "dub", "ok", "failed", "gone", name=f"see {PRESIGNED}")
        await watch(made.api, "dub", "refused", account="b")
        await watch(made.api, "dub", "unasked", account="gone")
        assert (await made.api.post({"kind": PRESIGNED, "task_id": API_KEY * 20})).status == 422
        assert (await made.api.get("/v1/tasks", headers={"authorization": "Bearer CANARY-wrong"})).status == 401
        await hear(receivers, "ok", "failed", "gone", path=PATH.partition("?")[0])

        def said(*names):
            text = made.log.read_text()
            return all(f'"event": "{name}"' in text for name in names)

        await until(lambda: said("account.paused", "camb.unreachable", "task.unknown_status", "task.concluded"))
        assert await made.stop() == 0

    text = made.log.read_text()
    assert "CANARY" not in text
    log = [json.loads(line) for line in text.split("\n")[:-1]]
    assert len(log) > 30
    for line in log:
        assert line["level"] in EVENTS[line["event"]].split(), line
        assert re.fullmatch(r"20\d\d-\d\d-\d\dT[\d:.]+Z", line["timestamp"])
    attempts = [line for line in log if line["event"] == "delivery.attempted"]
    assert {line["destination"] for line in attempts} == set(destinations)
    assert all({"delivery_id", "attempt", "outcome", "decision", "took_ms"} <= line.keys() for line in attempts)


def test_the_names_of_events_are_a_fixed_list():
    """Each is a plain `noun.past_participle` in the source, said at the levels that are listed."""
    said = {}
    for path in Path(cambwatch.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id="log") | ast.Attribute(attr="_log"), attr=level),
                    args=[first, *_],
                ):
                    assert isinstance(first, ast.Constant), f"{path}:{node.lineno}"
                    said.setdefault(first.value, set()).add("error" if level == "exception" else level)
    assert {name: " ".join(sorted(levels)) for name, levels in said.items()} == EVENTS
    assert all(re.fullmatch(r"[a-z]+\.[a-z]+(_[a-z]+)*", name) for name in EVENTS)
