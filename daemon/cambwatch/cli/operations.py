"""Commands that are asked of a daemon that runs, and what all commands share: options, tables, exit statuses."""

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from cambwatch import config as configuration
from cambwatch.adapters.terminal import say, say_json
from cambwatch.cli.client import DaemonClient, RefusedError, UnreachableError
from cambwatch.core.instants import parse_duration, rfc3339

WIDEST_TABLE = 10_000  # columns; a table takes no more than it needs
RETRY_S = 300.0  # a hundred thousand deliveries take the daemon a while
TEST_S = 300.0  # a destination may have a long timeout


class Exit(IntEnum):
    """How a command ends; 69 to 78 are those of sysexits.h."""

    OK = 0
    FAILED = 1  # the task ended otherwise than SUCCESS, or the test message was not taken
    USAGE = 2  # also what the daemon refuses: a mistyped kind, an unknown task, a wrong token
    UNREACHABLE = 3
    STILL_PENDING = 4
    ADDRESS = 69  # the address to listen at cannot be had
    DATABASE = 74  # the database cannot be read or written; of all commands: their output cannot be written
    BUSY = 75  # another process has the database
    CONFIG = 78


RESTART_S = 30.0  # for which `wait` holds on to a daemon that has answered before

commands = typer.Typer()

ConfigPath = Annotated[Path | None, typer.Option("--config", "-c", help="The configuration file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Kind = Annotated[str, typer.Argument(help="The kind of task, such as dub; see `cambwatch kinds`.")]
TaskId = Annotated[str, typer.Argument(help="The task_id that Camb returned.")]
Account = Annotated[str, typer.Option(help="The account whose key created the task.")]


@commands.command()
def watch(  # noqa: PLR0913 - its options
    kind: Kind,
    task_id: TaskId,
    *,
    name: Annotated[str | None, typer.Option(help="What people call it.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="name=value; may be repeated.")] = None,
    notify: Annotated[
        list[str] | None, typer.Option(help="A destination, instead of the routes'; may be repeated.")
    ] = None,
    group: Annotated[str | None, typer.Option(help="Tasks that belong together.")] = None,
    account: Account = "default",
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end, as `cambwatch wait` does.")] = False,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Watch a task."""
    body: dict[str, Any] = {"kind": kind, "task_id": task_id, "account": account, "labels": labels(label or [])}
    body |= {key: value for key, value in (("name", name), ("notify", notify), ("group", group)) if value}
    with daemon_client(config) as daemon_api:
        task = daemon_api.call_sync("POST", "v1", "tasks", body=body)
    if wait:
        _wait(config, task["kind"], task_id, account=account, seconds=None, as_json=as_json)
    _print_task(task, as_json=as_json)


@commands.command()
def tasks(
    *,
    status: Annotated[list[str] | None, typer.Option(help="Only this status; may be repeated.")] = None,
    kind: Annotated[list[str] | None, typer.Option(help="Only this kind; may be repeated.")] = None,
    group: Annotated[str | None, typer.Option(help="Only this group.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="Only with this label, name=value; may be repeated.")] = None,
    limit: Annotated[int, typer.Option(help="At most so many, newest first.", min=1, max=1000)] = 50,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """List tasks, newest first."""
    query: dict[str, Any] = {"limit": limit, "status": status or [], "kind": kind or []}
    query["label"] = [f"{key}:{value}" for key, value in labels(label or []).items()]
    if group:
        query["group"] = group
    with daemon_client(config) as daemon_api:
        page = daemon_api.call_sync("GET", "v1", "tasks", query=query)
    if as_json:
        say_json(page["items"])
        return
    print_table(
        ("", "kind", "task_id", "name", "status", "polls", "registered", "next poll"),
        [
            (task["icon"], task["kind"], task["task_id"], task["name"] or "", task["status"], str(task["polls"]),
             task["registered_at"], task["next_poll_at"] or "")
            for task in page["items"]
        ],
    )  # fmt: skip
    for account in dict.fromkeys(task["account"] for task in page["items"] if task["limited_by"] == "budget"):
        say(f"account {account}: requests_per_second is the limit, polls are late", err=True)


@commands.command()
def show(
    kind: Kind, task_id: TaskId, *, account: Account = "default", config: ConfigPath = None, as_json: AsJson = False
) -> None:
    """Show a task and what was delivered of it."""
    with daemon_client(config) as daemon_api:
        task = daemon_api.call_sync("GET", "v1", "tasks", kind, task_id, query={"account": account})
    _print_task(task, as_json=as_json)


@commands.command()
def wait(
    kind: Kind,
    task_id: TaskId,
    *,
    account: Account = "default",
    timeout: Annotated[
        str | None, typer.Option(help="Give up after this time, such as 10m; without it: never.")
    ] = None,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Wait until a task ends: exit 0 on SUCCESS, 1 on any other end, 3 without a daemon, 4 when the time is up."""
    try:
        seconds = None if timeout is None else parse_duration(timeout).total_seconds()
    except ValueError as error:
        exit_with(Exit.USAGE, f"--timeout: {error}")
    _wait(config, kind, task_id, account=account, seconds=seconds, as_json=as_json)


@commands.command()
def unwatch(kind: Kind, task_id: TaskId, *, account: Account = "default", config: ConfigPath = None) -> None:
    """Watch a task no longer; nobody is told."""
    with daemon_client(config) as daemon_api:
        daemon_api.call_sync("DELETE", "v1", "tasks", kind, task_id, query={"account": account})
    say(f"{kind} {task_id} is no longer watched")


@commands.command()
def kinds(*, config: ConfigPath = None, as_json: AsJson = False) -> None:
    """List the kinds of task, how long they took so far, and how often they are asked for; sizes below their kind."""
    with daemon_client(config) as daemon_api:
        page = daemon_api.call_sync("GET", "v1", "kinds")
    if as_json:
        say_json(page["items"])
        return
    print_table(
        ("kind", "interval", "deadline", "completed", "median s", "p95 s", "strategy", "polls", "gain", "aliases",
         "extra for the result"),
        [
            row
            for kind in page["items"]
            for row in (
                (kind["kind"], f"{kind['interval_seconds']:g} s", f"{kind['deadline_seconds'] / 3600:g} h",
                 *_learned(kind), ", ".join(kind["aliases"]), ", ".join(kind["needs_extra"])),
                *(("  " + size["size"], "", "", *_learned(size), "", "") for size in kind["sizes"]),
            )
        ],
    )  # fmt: skip


def _learned(known: Any) -> tuple[str, ...]:
    """What is known of a kind or a size, in the columns of a table."""
    shown = ("median_seconds", "p95_seconds", "expected_polls", "estimated_gain")
    median, p95, polls, gain = ("" if known[one] is None else f"{known[one]:.1f}" for one in shown)
    return str(known["completions"]), median, p95, known["strategy"], polls, gain


@commands.command()
def deliveries(
    delivery_id: Annotated[str | None, typer.Argument(help="Show this one, with every attempt.")] = None,
    *,
    state: Annotated[list[str] | None, typer.Option(help="Only in this state; may be repeated.")] = None,
    destination: Annotated[str | None, typer.Option(help="Only to this destination.")] = None,
    task_id: Annotated[str | None, typer.Option(help="Only of tasks with this task_id.")] = None,
    limit: Annotated[int, typer.Option(help="At most so many, newest first.", min=1, max=1000)] = 50,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """List deliveries, newest first; or show one with its attempts."""
    query: dict[str, Any] = {"limit": limit, "state": state or []}
    query |= {key: value for key, value in (("destination", destination), ("task_id", task_id)) if value}
    with daemon_client(config) as daemon_api:
        if delivery_id is not None:
            _print_delivery(daemon_api.call_sync("GET", "v1", "deliveries", delivery_id), as_json=as_json)
            return
        page = daemon_api.call_sync("GET", "v1", "deliveries", query=query)
    if as_json:
        say_json(page["items"])
        return
    print_table(
        ("id", "destination", "of", "state", "attempts", "outcome", "created", "next attempt"),
        [
            (one["id"], one["destination"], _subject(one), one["state"], str(one["attempts"]), one["outcome"] or "",
             one["created_at"], one["next_attempt_at"] or "")
            for one in page["items"]
        ],
    )  # fmt: skip


@commands.command()
def retry(
    delivery_id: Annotated[str | None, typer.Argument(help="Only this one.")] = None,
    *,
    destination: Annotated[str | None, typer.Option(help="All to this destination.")] = None,
    state: Annotated[str | None, typer.Option(help="dead (if not given), or pending: due now.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Only of events since then: 2026-11-22T06:00:00Z, or a time ago such as 2h.")
    ] = None,
    all_dead: Annotated[bool, typer.Option("--all-dead", help="All that are dead.")] = False,
    config: ConfigPath = None,
) -> None:
    """Try deliveries again that are dead, or that wait; never one that was delivered."""
    selection = {"destination": destination, "state": state, "since": None if since is None else _instant(since)}
    selection = {key: value for key, value in selection.items() if value is not None}
    if sum((delivery_id is not None, bool(selection), all_dead)) != 1:
        exit_with(Exit.USAGE, "name a delivery, or some by --destination, --state and --since, or --all-dead")
    with daemon_client(config) as daemon_api:
        if delivery_id is not None:
            answer = daemon_api.call_sync("POST", "v1", "deliveries", delivery_id, "retry")
        else:
            answer = daemon_api.call_sync("POST", "v1", "deliveries", "retry", body=selection, wait_s=RETRY_S)
    say(f"{answer['queued']} queued")


@commands.command("test")
def send_test(
    destination: Annotated[str, typer.Argument(help="A name out of the configuration.")],
    *,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Send a destination one message that says that it is a test; exit 0 if it was taken, 1 if not."""
    with daemon_client(config) as daemon_api:
        result = daemon_api.call_sync("POST", "v1", "destinations", destination, "test", wait_s=TEST_S)
    if as_json:
        say_json(result)
    else:
        status = "" if result["http_status"] is None else f", HTTP {result['http_status']}"
        say(f"{destination}: {result['outcome']}{status}, {result['took_ms']} ms")
        if result["detail"]:
            say(result["detail"])
    raise typer.Exit(Exit.OK if result["outcome"].startswith("accepted") else Exit.FAILED)


@contextmanager
def daemon_client(path: Path | None) -> Iterator[DaemonClient]:
    """The intake that the configuration names, and an exit status for whatever it says but yes."""
    try:
        where = configuration.daemon_api(None if path is None else str(path), os.environ)
    except configuration.ConfigError as error:
        exit_with(Exit.CONFIG, str(error))
    try:
        yield DaemonClient(url=where.url, token=where.token, socket=where.socket)
    except UnreachableError as error:
        exit_with(Exit.UNREACHABLE, f"{error}; start it with `cambwatch run`")
    except RefusedError as error:
        # 1 is kept for tasks that failed: a script must not take a typing mistake for one.
        exit_with(Exit.USAGE if error.status < 500 else Exit.UNREACHABLE, str(error))


def _wait(
    config: Path | None, kind: str, task_id: str, *, account: str, seconds: float | None, as_json: bool
) -> NoReturn:
    with daemon_client(config) as daemon_api:
        task = asyncio.run(_wait_until_finished(daemon_api, kind, task_id, account=account, seconds=seconds))
    if task["status"] == "PENDING":
        exit_with(Exit.STILL_PENDING, f"{kind} {task_id} is still pending")
    _print_task(task, as_json=as_json)
    raise typer.Exit(Exit.OK if task["status"] == "SUCCESS" else Exit.FAILED)


async def _wait_until_finished(
    daemon_api: DaemonClient, kind: str, task_id: str, *, account: str, seconds: float | None
) -> Any:
    loop = asyncio.get_running_loop()
    until = None if seconds is None else loop.time() + seconds
    answered_at_s: float | None = None
    while True:
        left = 10.0 if until is None else min(10.0, max(until - loop.time(), 0))
        query = {"account": account, "wait": f"{left:.3f}s"}
        try:
            task = await daemon_api.call("GET", "v1", "tasks", kind, task_id, query=query, wait_s=left)
        except UnreachableError:
            # A daemon that answered before may be restarting, as at an upgrade.
            if answered_at_s is None or loop.time() - answered_at_s > RESTART_S:
                raise
            await asyncio.sleep(0.5)
            continue
        answered_at_s = loop.time()
        if task["status"] != "PENDING" or (until is not None and loop.time() >= until):
            return task
        say(f"{task['icon']} {task['kind']} {task_id}: {task['status']}, {task['polls']} polls", err=True)


def labels(words: list[str]) -> dict[str, str]:
    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            exit_with(Exit.USAGE, f"--label {word!r}: write name=value")
        found[name] = value
    return found


def print_table(headers: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    table = Table(*headers, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*row)
    # In a pipe the width of a terminal means nothing, and no id may be cut.
    width = None if sys.stdout.isatty() else WIDEST_TABLE
    console = Console(width=width, markup=False, emoji=False, highlight=False)
    with console.capture() as captured:
        console.print(table)
    say(captured.get().removesuffix("\n"))


def _print_task(task: Any, *, as_json: bool) -> None:
    if as_json:
        say_json(task)
        return
    shown = (
        *("kind", "task_id", "name", "status", "exception_reason", "message", "action", "group", "labels"),
        *(
            "registered_at",
            "finished_at",
            "next_poll_at",
            "deadline_at",
            "polls",
            "run_id",
            "result_endpoint",
            "result",
        ),
    )
    rows = [
        (key, json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value))
        for key in shown
        if (value := task[key]) not in (None, {}, [])
    ]
    rows += [
        (
            f"→ {one['destination']}",
            f"{one['state']}, {one['attempts']} attempts, {one['outcome'] or _attempt_state(one)}",
        )
        for one in task["deliveries"]
    ]
    width = max(len(key) for key, _ in rows)
    say("\n".join(f"{key:<{width}}  {value}" for key, value in rows))


def exit_with(status: Exit, words: str) -> NoReturn:
    say(words, err=True)
    raise typer.Exit(status)


def _attempt_state(delivery: Any) -> str:
    return "to be tried again" if delivery["attempts"] else "not tried yet"


def _print_delivery(one: Any, *, as_json: bool) -> None:
    if as_json:
        say_json(one)
        return
    shown = ("id", "destination", "state", "event_type", "created_at", "next_attempt_at", "finished_at")
    for key, value in [("subject", _subject(one)), *((key, one[key]) for key in shown if one[key] is not None)]:
        say(f"{key:<15}  {value}")
    print_table(
        ("attempt", "at", "outcome", "HTTP", "ms", "deliveries", "answer"),
        [
            (str(past["number"]), past["at"], past["outcome"], str(past["http_status"] or ""), str(past["took_ms"]),
             str(past["delivery_count"]), " ".join((past["detail"] or "").split()))
            for past in one["history"]
        ],
    )  # fmt: skip


def _subject(one: Any) -> str:
    if one["about_destination"] is not None:
        return f"{one['event_type']} {one['about_destination']}"
    if one["kind"] is None:
        return one["event_type"] if one["group"] is None else f"group {one['group']}"
    return f"{one['kind']} {one['task_id']}" + (f" ({one['name']})" if one["name"] else "")


def _instant(text: str) -> str:
    try:
        return rfc3339(datetime.now(UTC) - parse_duration(text))
    except ValueError:
        return text  # the daemon says what is wrong with it, if anything is
