"""The command line: the daemon itself, and what is asked of one that runs."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import structlog
import typer
from rich.console import Console
from rich.table import Table

import cambwatch
from cambwatch import config as configuration
from cambwatch.adapters import logs
from cambwatch.client import Intake, RefusedError, UnreachableError
from cambwatch.core.instants import parse_span
from cambwatch.simulator.command import simulate

WIDEST_TABLE = 10_000  # columns; a table takes no more than it needs

log = structlog.get_logger()


class Exit(IntEnum):
    """How a command ends; 69 to 78 are those of sysexits.h."""

    OK = 0
    FAILED = 1  # the task ended otherwise than SUCCESS, or the daemon refused
    USAGE = 2
    UNREACHABLE = 3
    STILL_PENDING = 4
    ADDRESS = 69  # the address to listen at cannot be had
    DATABASE = 74  # the database cannot be read or written
    BUSY = 75  # another process has the database
    CONFIG = 78


app = typer.Typer(
    name="cambwatch",
    help="Hears when a task on Camb.ai ends, and tells those who wait for it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("simulate")(simulate)

ConfigPath = Annotated[
    Path | None, typer.Option("--config", "-c", help="The configuration file.", envvar="CAMBWATCH_CONFIG")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Kind = Annotated[str, typer.Argument(help="The kind of task, such as dub; see `cambwatch kinds`.")]
TaskId = Annotated[str, typer.Argument(help="The task_id that Camb answered with.")]
Account = Annotated[str, typer.Option(help="The account whose key created the task.")]


def main() -> None:
    """The console script."""
    app()


@app.callback(invoke_without_command=True)
def _version(*, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(cambwatch.__version__)
        raise typer.Exit


@app.command()
def run(config: ConfigPath = None) -> None:
    """Watch tasks, poll Camb, and deliver; until SIGTERM or SIGINT."""
    # Imported here, as in demo(): what the daemon is made of takes a third of the time in which other commands start.
    import uvloop  # noqa: PLC0415

    from cambwatch import app as daemon  # noqa: PLC0415
    from cambwatch.adapters.store.database import (  # noqa: PLC0415
        StoreBusyError,
        StoreTooNewError,
        StoreUnavailableError,
    )

    loaded = _load(config)
    settings = loaded.config
    logs.configure(level=settings.log.level, format=settings.log.format, secrets=loaded.secrets)
    for warning in loaded.warnings:
        log.warning("config.doubtful", hint=warning)
    try:
        uvloop.run(_until_signal(lambda stop: daemon.run(settings, stop=stop)))
    except StoreBusyError as error:
        _end(Exit.BUSY, str(error))
    except StoreTooNewError as error:
        _end(Exit.CONFIG, str(error))
    except StoreUnavailableError as error:
        _end(Exit.DATABASE, f"the database cannot be used: {error}")
    except OSError as error:
        _end(Exit.ADDRESS, f"cannot listen at {settings.http.listen}: {error.strerror or error}")


async def _until_signal(work: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Do *work*, which ends when its event is set: that is what SIGTERM and SIGINT do."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def told() -> None:
        # A second Ctrl-C has its usual effect.
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told)
    await work(stop)


@app.command()
def demo(
    *,
    serve: Annotated[bool, typer.Option("--serve", help="Stay up when all is delivered.")] = False,
) -> None:
    """Show the whole job in seconds, on loopback: simulator, daemon and two receivers. Needs no key."""
    from cambwatch import demo as demonstration  # noqa: PLC0415

    raise typer.Exit(demonstration.show(serve=serve))


@app.command()
def check(*, config: ConfigPath = None, as_json: AsJson = False) -> None:
    """Read the configuration and say everything that is wrong with it; exit 78 if something is."""
    try:
        path = configuration.find(None if config is None else str(config), os.environ)
        loaded = configuration.load(path, os.environ)
    except configuration.ConfigError as error:
        if as_json:
            typer.echo(json.dumps({"ok": False, "problems": [str(problem) for problem in error.problems]}, indent=2))
        else:
            typer.echo(str(error), err=True)
        raise typer.Exit(Exit.CONFIG) from None
    if as_json:
        typer.echo(json.dumps({"ok": True, "path": str(path), "warnings": list(loaded.warnings)}, indent=2))
        return
    for warning in loaded.warnings:
        typer.echo(f"warning: {warning}", err=True)
    settings = loaded.config
    counted = {"account": settings.accounts, "destination": settings.destinations, "route": settings.routes,
               "task": settings.registrations}  # fmt: skip
    typer.echo(
        f"{path}: ok, " + ", ".join(f"{len(of)} {word}{'' if len(of) == 1 else 's'}" for word, of in counted.items())
    )


@app.command()
def schema() -> None:
    """Print the JSON Schema of the configuration, for editors."""
    typer.echo(json.dumps(configuration.schema(), indent=2, ensure_ascii=False))


@app.command()
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
    body: dict[str, Any] = {"kind": kind, "task_id": task_id, "account": account, "labels": _labels(label or [])}
    body |= {key: value for key, value in (("name", name), ("notify", notify), ("group", group)) if value}
    with _asking(config) as intake:
        task = intake.ask_now("POST", "v1", "tasks", body=body)
    if wait:
        _wait(config, task["kind"], task_id, account=account, seconds=None, as_json=as_json)
    _print_task(task, as_json=as_json)


@app.command()
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
    query["label"] = [f"{key}:{value}" for key, value in _labels(label or []).items()]
    if group:
        query["group"] = group
    with _asking(config) as intake:
        page = intake.ask_now("GET", "v1", "tasks", query=query)
    if as_json:
        typer.echo(json.dumps(page["items"], indent=2, ensure_ascii=False))
        return
    _print_table(
        ("", "kind", "task_id", "name", "status", "polls", "registered", "next poll"),
        [
            (task["icon"], task["kind"], task["task_id"], task["name"] or "", task["status"], str(task["polls"]),
             task["registered_at"], task["next_poll_at"] or "")
            for task in page["items"]
        ],
    )  # fmt: skip


@app.command()
def show(
    kind: Kind, task_id: TaskId, *, account: Account = "default", config: ConfigPath = None, as_json: AsJson = False
) -> None:
    """Show a task and what was delivered of it."""
    with _asking(config) as intake:
        task = intake.ask_now("GET", "v1", "tasks", kind, task_id, query={"account": account})
    _print_task(task, as_json=as_json)


@app.command()
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
        seconds = None if timeout is None else parse_span(timeout).total_seconds()
    except ValueError as error:
        _end(Exit.USAGE, f"--timeout: {error}")
    _wait(config, kind, task_id, account=account, seconds=seconds, as_json=as_json)


@app.command()
def unwatch(kind: Kind, task_id: TaskId, *, account: Account = "default", config: ConfigPath = None) -> None:
    """Watch a task no longer; nobody is told."""
    with _asking(config) as intake:
        intake.ask_now("DELETE", "v1", "tasks", kind, task_id, query={"account": account})
    typer.echo(f"{kind} {task_id} is no longer watched")


@app.command()
def kinds(*, config: ConfigPath = None, as_json: AsJson = False) -> None:
    """List the kinds of task, how often they are asked for and how long."""
    with _asking(config) as intake:
        page = intake.ask_now("GET", "v1", "kinds")
    if as_json:
        typer.echo(json.dumps(page["items"], indent=2, ensure_ascii=False))
        return
    _print_table(
        ("kind", "aliases", "interval", "deadline", "extra for the result"),
        [
            (kind["kind"], ", ".join(kind["aliases"]), f"{kind['interval_seconds']:g} s",
             f"{kind['deadline_seconds'] / 3600:g} h", ", ".join(kind["needs_extra"]))
            for kind in page["items"]
        ],
    )  # fmt: skip


def _load(path: Path | None) -> configuration.Loaded:
    try:
        return configuration.load(configuration.find(None if path is None else str(path), os.environ), os.environ)
    except configuration.ConfigError as error:
        _end(Exit.CONFIG, str(error))


@contextmanager
def _asking(path: Path | None) -> Iterator[Intake]:
    """The intake that the configuration names, and an exit status for whatever it says but yes."""
    try:
        where = configuration.intake(None if path is None else str(path), os.environ)
    except configuration.ConfigError as error:
        _end(Exit.CONFIG, str(error))
    try:
        yield Intake(url=where.url, token=where.token, socket=where.socket)
    except UnreachableError as error:
        _end(Exit.UNREACHABLE, f"{error}; start it with `cambwatch run`")
    except RefusedError as error:
        _end(Exit.FAILED, str(error))


def _wait(
    config: Path | None, kind: str, task_id: str, *, account: str, seconds: float | None, as_json: bool
) -> NoReturn:
    with _asking(config) as intake:
        task = asyncio.run(_until_end(intake, kind, task_id, account=account, seconds=seconds))
    if task["status"] == "PENDING":
        _end(Exit.STILL_PENDING, f"{kind} {task_id} is still pending")
    _print_task(task, as_json=as_json)
    raise typer.Exit(Exit.OK if task["status"] == "SUCCESS" else Exit.FAILED)


async def _until_end(intake: Intake, kind: str, task_id: str, *, account: str, seconds: float | None) -> Any:
    loop = asyncio.get_running_loop()
    until = None if seconds is None else loop.time() + seconds
    while True:
        left = 10.0 if until is None else min(10.0, max(until - loop.time(), 0))
        query = {"account": account, "wait": f"{left:.3f}s"}
        task = await intake.ask("GET", "v1", "tasks", kind, task_id, query=query, wait_s=left)
        if task["status"] != "PENDING" or (until is not None and loop.time() >= until):
            return task
        typer.echo(f"{task['icon']} {task['kind']} {task_id}: {task['status']}, {task['polls']} polls", err=True)


def _labels(words: list[str]) -> dict[str, str]:
    labels = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            _end(Exit.USAGE, f"--label {word!r}: write name=value")
        labels[name] = value
    return labels


def _print_table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    table = Table(*heads, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*row)
    # In a pipe the width of a terminal means nothing, and no id may be cut.
    width = None if sys.stdout.isatty() else WIDEST_TABLE
    Console(width=width, markup=False, emoji=False, highlight=False).print(table)


def _print_task(task: Any, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(task, indent=2, ensure_ascii=False))
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
        (f"→ {one['destination']}", f"{one['state']}, {one['attempts']} attempts, {one['outcome'] or 'not tried yet'}")
        for one in task["deliveries"]
    ]
    width = max(len(key) for key, _ in rows)
    for key, value in rows:
        typer.echo(f"{key:<{width}}  {value}")


def _end(status: Exit, words: str) -> NoReturn:
    typer.echo(words, err=True)
    raise typer.Exit(status)
