"""
`cambwatch demo`: the whole job on loopback, in seconds, without a key.

The daemon is the real one, with a real configuration file and database; only Camb
is the simulator, and the receivers are two small servers of our own.
"""

import asyncio
import hmac
import json
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
import uvloop
from aiohttp import web
from rich.console import Console
from rich.table import Table
from structlog.typing import EventDict, WrappedLogger

from cambwatch import config as configuration
from cambwatch.app import process as daemon
from cambwatch.cli.client import DaemonClient
from cambwatch.core.formats.webhook import sign
from cambwatch.core.model import FinishedReply, PendingReply, UnknownTaskReply
from cambwatch.core.redaction import Secret
from cambwatch.simulator import Settings, Simulator, serve

TIMEOUT_S = 25.0  # then something is wrong, and the demo says what is missing
SIGNING_SECRET = "whsec_ZGVtby1zZWNyZXQtdGhhdC1vbmx5LXRoZS1kZW1vLXVzZXM="  # noqa: S105 - for this page of theatre only
UNKNOWN_TASK_ID = "99999999-aaaa-4bbb-8ccc-dddddddddddd"  # Camb has never heard of it
SERVED_AT = "127.0.0.1:8787"

_CONFIG = """\
camb: {{base_url: "{base_url}", api_key: demo, requests_per_second: 100}}
polling:
  interval: 500ms
  min_interval: 100ms
  not_found_grace: 1s
store: {{url: "sqlite:///{folder}/demo.db"}}
http: {{listen: "{listen}"}}
destinations:
  team-slack: {{type: slack, url: "{receivers}/services/T000/B000/demo", rate: 50/s, allow_private: true}}
  pipeline: {{type: webhook, url: "{receivers}/hooks/camb", secret: {secret}, allow_private: true}}
tasks:
"""


@dataclass(frozen=True, slots=True)
class DemoTask:
    """A task of the demo: how it ends at the pretend Camb, and how it is registered here."""

    kind: str
    name: str
    status: str
    after_s: float
    yaml: bool
    deadline: str = "1h"
    notified: bool = True
    reason: str | None = None
    message: str | None = None


SAMPLES = (
    DemoTask("text-to-voice", "Narrator", "SUCCESS", 1.2, yaml=True),
    DemoTask("dub", "Pilot episode", "ERROR", 0.9, yaml=True, reason="SOURCE_TOO_LONG", message="Longer than you may"),
    DemoTask("transcription", "Interview", "TIMEOUT", 1.6, yaml=True),
    DemoTask("tts", "Greeting", "SUCCESS", 0.4, yaml=False),
    DemoTask("story", "Bedtime story", "PAYMENT_REQUIRED", 0.7, yaml=False),
    DemoTask("audio-separation", "Stems that never come", "PENDING", 3600, yaml=False, deadline="2s"),
    DemoTask("translation", "Mistyped task_id", "NOT_FOUND", 0, yaml=False),
    DemoTask("dub", "Feature film", "PENDING", 3600, yaml=False, notified=False),
)


def run_demo(*, serve: bool) -> int:
    """Run the demo on the standard output; returns the exit status: 0 when all that was owed was delivered."""
    width = None if sys.stdout.isatty() else 140
    return uvloop.run(_Demo(Console(highlight=False, markup=False, width=width)).run(stay=serve))


class _Demo:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = time.monotonic()
        self._names: dict[str, str] = {}  # task_id -> name
        self._undelivered = {
            (sample.name, to) for sample in SAMPLES if sample.notified for to in ("team-slack", "pipeline")
        }
        self._all_delivered = asyncio.Event()

    async def run(self, *, stay: bool) -> int:
        structlog.configure(processors=[structlog.contextvars.merge_contextvars, self._narrate],
                            logger_factory=structlog.ReturnLoggerFactory())  # fmt: skip
        simulator = Simulator(Settings(keys=frozenset({"demo"})), clock=time.monotonic)
        with tempfile.TemporaryDirectory(prefix="cambwatch-demo-") as folder:
            async with serve(simulator) as base_url, self._receivers() as receivers:
                ids = {sample.name: self._add_task(simulator, sample) for sample in SAMPLES}
                path = Path(folder, "config.yaml")
                path.write_text(
                    _CONFIG.format(base_url=base_url, folder=folder, receivers=receivers, secret=SIGNING_SECRET,
                                   listen=SERVED_AT if stay else "127.0.0.1:0")
                    + "".join(
                        f"  - {{kind: {sample.kind}, task_id: {ids[sample.name]}, name: {sample.name}}}\n"
                        for sample in SAMPLES
                        if sample.yaml
                    )
                )  # fmt: skip
                self._print_line("simulator", f"pretends to be Camb at {base_url}")
                self._print_line(
                    "receivers", f"a Slack look-alike and a webhook that checks signatures, at {receivers}"
                )
                return await self._watch(configuration.load(path, {}).config, ids, stay=stay)

    async def _watch(self, settings: configuration.Config, ids: dict[str, str], *, stay: bool) -> int:
        stop = asyncio.Event()
        address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        async with asyncio.TaskGroup() as group:
            group.create_task(daemon.run(settings, stop=stop, ready=address.set_result), name="daemon")
            daemon_api = DaemonClient(await address)
            for sample in SAMPLES:
                if not sample.yaml:
                    registration = {"kind": sample.kind, "task_id": ids[sample.name], "name": sample.name}
                    await daemon_api.call("POST", "v1", "tasks", body=registration | {"deadline": sample.deadline})
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    await self._all_delivered.wait()
                    while _any_unrecorded(page := await daemon_api.call("GET", "v1", "tasks")):  # noqa: ASYNC110 - over HTTP
                        await asyncio.sleep(0.05)  # the last receiver has it, its outcome is being written down
                self._print_table(page)
            except TimeoutError:
                self._print_line("missing", ", ".join(sorted(f"{name} → {to}" for name, to in self._undelivered)))
            if stay:
                self._print_line("serving", f"{daemon_api.url}; Ctrl-C ends it")
                for number in (signal.SIGTERM, signal.SIGINT):
                    asyncio.get_running_loop().add_signal_handler(number, stop.set)
                await stop.wait()
            stop.set()
        if self._undelivered:
            return 1
        notified = sum(sample.notified for sample in SAMPLES)
        self._console.print(
            f"\n{notified} ends, {2 * notified} notifications, all delivered. Next: “Five minutes to Slack” in README."
        )
        return 0

    def _add_task(self, simulator: Simulator, sample: DemoTask) -> str:
        if sample.status == "NOT_FOUND":
            self._names[UNKNOWN_TASK_ID] = sample.name
            return UNKNOWN_TASK_ID
        status = "SUCCESS" if sample.status == "PENDING" else sample.status  # it would, if anybody waited an hour
        task_id = simulator.add_task(sample.kind, status=status, after_seconds=sample.after_s,
                                     exception_reason=sample.reason, message=sample.message)  # fmt: skip
        self._names[task_id] = sample.name
        return task_id

    @asynccontextmanager
    async def _receivers(self) -> AsyncIterator[str]:
        application = web.Application()
        application.router.add_post("/services/{path:.*}", self._slack)
        application.router.add_post("/hooks/camb", self._webhook)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    async def _slack(self, request: web.Request) -> web.Response:
        message = await request.json()
        for line in _slack_text(message):
            self._console.print(f"           │ {line}", style="cyan")
        self._received("team-slack", message["text"])
        return web.Response(text="ok")

    async def _webhook(self, request: web.Request) -> web.Response:
        body = await request.read()
        headers = request.headers
        expected = sign([Secret(SIGNING_SECRET)], delivery_id=headers["webhook-id"],
                        timestamp_s=int(headers["webhook-timestamp"]), body=body)  # fmt: skip
        if not hmac.compare_digest(expected, headers["webhook-signature"]):
            self._print_line("webhook", "signature is WRONG")
            return web.Response(status=401)
        document = json.loads(body)
        self._print_line("webhook", f"{document['type']}, {headers['webhook-id'][:12]}…, signature is right")
        self._received("pipeline", document["data"]["name"])
        return web.Response(status=204)

    def _received(self, destination: str, text: str) -> None:
        self._undelivered -= {(name, to) for name, to in self._undelivered if to == destination and name in text}
        if not self._undelivered:
            self._all_delivered.set()

    def _narrate(self, _logger: WrappedLogger, _method: str, event: EventDict) -> str:
        """What the daemon logs, as a story; a structlog processor."""
        what = f'{event.get("kind", "")} "{self._names.get(event.get("task_id", ""), "?")}"'
        match event["event"]:
            case "service.started":
                self._print_line("started", f"cambwatch takes tasks at {event['address']}/v1/tasks")
            case "task.registered":
                self._print_line("registered", f"{what} from {'config.yaml' if event['source'] == 'yaml' else 'HTTP'}")
            case "task.polled":
                self._print_line("polled", f"{what}: {_describe_reply(event['reply'])}")
            case "task.concluded":
                said = f"{what}: {event['status']} after {event['seconds']} s and {event['polls']} polls"
                self._print_line("concluded", said)
            case "delivery.attempted":
                said = f"{event['event_type']} to {event['destination']}"
                result = "delivered" if event["decision"] == "Delivered" else "refused"
                self._print_line(result, f"{said}, HTTP {event['http_status']}, {event['took_ms']} ms")
            case "service.stopping" | "service.stopped":
                self._print_line(event["event"].removeprefix("service."), "cambwatch")
            case other:
                self._print_line(str(other), str({key: value for key, value in event.items() if key != "event"}))
        return ""

    def _print_line(self, what: str, words: str) -> None:
        self._console.print(f"{time.monotonic() - self._started:5.1f} s  {what:<10}  {words}")

    def _print_table(self, page: Any) -> None:
        table = Table("", "kind", "name", "status", "polls", "to do", "delivered to", title="What became of them")
        for task in reversed(page["items"]):
            delivered = [one["destination"] for one in task["deliveries"] if one["state"] == "delivered"]
            table.add_row(task["icon"], task["kind"], task["name"], task["status"], str(task["polls"]), task["action"],
                          ", ".join(delivered) or "–")  # fmt: skip
        self._console.print(table)


def _any_unrecorded(page: Any) -> bool:
    return any(delivery["state"] != "delivered" for task in page["items"] for delivery in task["deliveries"])


def _describe_reply(reply: object) -> str:
    match reply:
        case PendingReply():
            return "PENDING"
        case FinishedReply(status):
            return status.value
        case UnknownTaskReply():
            return "404"
    return type(reply).__name__


def _slack_text(message: Any) -> list[str]:
    """A Block Kit message as a person would read it in a channel."""
    lines = []
    for block in message.get("blocks", []):
        texts = [block.get("text"), *block.get("fields", []), *block.get("elements", [])]
        for text in texts:
            match text:
                case {"type": "button", "text": {"text": str(words)}}:
                    lines.append(f"[{words}]")
                case {"text": str(words)}:
                    lines.append(": ".join(words.splitlines()))
    return lines or [message["text"]]
