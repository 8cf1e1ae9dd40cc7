"""Commands of the daemon itself: run, check, render, routes, schema, backup. Those for a running daemon: operations."""

import atexit
import gc
import json
import os
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TextIO, cast
from urllib.parse import urlsplit

import structlog
import typer

import cambwatch
from cambwatch import config as configuration
from cambwatch.adapters import logs
from cambwatch.adapters.logs import LineWriter
from cambwatch.adapters.store.backup import BackupError, back_up
from cambwatch.adapters.terminal import say, say_json
from cambwatch.cli import operations
from cambwatch.cli.operations import Account, AsJson, ConfigPath, Exit, Kind, exit_with, labels, print_table
from cambwatch.core.camb import kinds
from cambwatch.core.events import RoutingAttributes, sample_event, webhook_id
from cambwatch.core.formats import FORMATS
from cambwatch.core.model import Status
from cambwatch.core.routing import destinations_for, matches
from cambwatch.core.service_urls import masked_url
from cambwatch.core.templates import TemplateError
from cambwatch.simulator.server import simulate

HIDDEN = "..."  # in place of what is secret

StatusWord = Annotated[str, typer.Argument(metavar="STATUS", help="How the task ends, such as SUCCESS.")]

log = structlog.get_logger()

app = typer.Typer(
    name="cambwatch",
    help="Hears when a task on Camb.ai ends, and tells those who wait for it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("simulate")(simulate)
app.add_typer(operations.commands)


@app.callback(invoke_without_command=True)
def _version(*, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        say(cambwatch.__version__)
        raise typer.Exit


@app.command()
def run(config: ConfigPath = None) -> None:
    """Watch tasks, poll Camb, and deliver; until SIGTERM or SIGINT."""
    gc.disable()  # as in main()
    # Imported here, as in demo(): what the daemon is made of takes a third of the time in which other commands start.
    import uvloop  # noqa: PLC0415

    from cambwatch.adapters.open_files import raise_limit  # noqa: PLC0415
    from cambwatch.adapters.store.database import (  # noqa: PLC0415
        StoreBusyError,
        StoreMisconfiguredError,
        StoreTooNewError,
        StoreUnavailableError,
    )
    from cambwatch.adapters.systemd import ExposedError  # noqa: PLC0415
    from cambwatch.app import process as daemon  # noqa: PLC0415
    from cambwatch.loops.garbage_collection import YOUNG_GENERATION_THRESHOLDS  # noqa: PLC0415

    gc.freeze()
    gc.set_threshold(*YOUNG_GENERATION_THRESHOLDS)
    gc.enable()
    loaded = _load(config)
    settings = loaded.config
    raise_limit()
    # From here on no write to stderr waits for the log reader, including what libraries print.
    lines = LineWriter(sys.stderr, report=logs.report_dropped)
    atexit.register(lines.finish)
    sys.stderr = cast("TextIO", lines)
    logs.configure(level=settings.log.level, format=settings.log.format, secrets=loaded.secrets)
    for warning in loaded.warnings:
        log.warning("config.warning", hint=warning)
    reloader = daemon.ConfigReloader(None if config is None else str(config), loaded)
    try:
        uvloop.run(
            daemon.until_signal(
                lambda stop: daemon.run(
                    settings,
                    stop=stop,
                    changes=reloader.changes,
                    on_cluster_reload=reloader.on_cluster_reload,
                    log_lines_dropped=lambda: lines.dropped,
                ),
                on_sighup=reloader.on_sighup,
            )
        )
        gc.freeze()  # else Python looks through all of it once more before it ends
    except StoreBusyError as error:
        exit_with(Exit.BUSY, str(error))
    except (StoreTooNewError, ExposedError) as error:
        exit_with(Exit.CONFIG, str(error))
    except StoreUnavailableError as error:
        misconfigured = isinstance(error, StoreMisconfiguredError)
        exit_with(Exit.CONFIG if misconfigured else Exit.DATABASE, f"the database cannot be used: {error}")
    except OSError as error:
        exit_with(Exit.ADDRESS, f"cannot listen at {settings.http.listen}: {error.strerror or error}")
    except Exception:
        log.exception("service.crashed")
        raise typer.Exit(Exit.FAILED) from None


@app.command()
def demo(
    *,
    serve: Annotated[bool, typer.Option("--serve", help="Stay up when all is delivered.")] = False,
) -> None:
    """Show the whole job in seconds, on loopback: simulator, daemon and two receivers. Needs no key."""
    from cambwatch.cli import demo as demonstration  # noqa: PLC0415

    raise typer.Exit(demonstration.run_demo(serve=serve))


@app.command()
def check(*, config: ConfigPath = None, as_json: AsJson = False) -> None:
    """Read the configuration and say everything that is wrong with it; exit 78 if something is."""
    try:
        path = configuration.find(None if config is None else str(config), os.environ)
        loaded = configuration.load(path, os.environ)
    except configuration.ConfigError as error:
        if as_json:
            say_json({"ok": False, "errors": [str(mistake) for mistake in error.mistakes]})
        else:
            say(str(error), err=True)
        raise typer.Exit(Exit.CONFIG) from None
    if as_json:
        say_json({"ok": True, "path": str(path), "warnings": list(loaded.warnings)})
        return
    for warning in loaded.warnings:
        say(f"warning: {warning}", err=True)
    settings = loaded.config
    counted = {"account": settings.accounts, "destination": settings.destinations, "route": settings.routes,
               "task": settings.registrations}  # fmt: skip
    say(f"{path}: ok, " + ", ".join(f"{len(of)} {word}{'' if len(of) == 1 else 's'}" for word, of in counted.items()))


@app.command()
def schema() -> None:
    """Print the JSON Schema of the configuration, for editors."""
    say_json(configuration.schema())


@app.command()
def render(
    kind: Kind,
    status: StatusWord,
    *,
    destination: Annotated[str, typer.Option(help="Whose form the message has.")],
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Show the request that would tell a destination of such an end; its secrets are left out."""
    known = _load(config).config.destinations
    if destination not in known:
        exit_with(
            Exit.USAGE,
            f"there is no destination {destination!r} in the configuration ({', '.join(known) or 'it has none'})",
        )
    to = known[destination]
    event = sample_event(_kind(kind), _status(status), at=datetime.now(UTC))
    try:
        message = FORMATS[to.type].render(event, to, delivery_id=webhook_id(event, destination), at=event.finished_at)
    except TemplateError as error:
        exit_with(Exit.FAILED, f"the template: {error}")
    hidden = {name.lower() for name in to.headers} - {"content-type"} | {"webhook-signature"}
    headers = {name: HIDDEN if name in hidden else value for name, value in message.headers.items()}
    if to.type == "apprise":  # what Apprise is called with: the request is its own
        method, where = "APPRISE", masked_url(to.url.reveal())
    else:
        url = urlsplit(to.url.reveal())
        method, where = "POST", f"{url.scheme}://{url.hostname}/{HIDDEN}"
    body = message.body.decode("utf-8", "replace")
    if as_json:
        say_json({"method": method, "url": where, "headers": headers, "body": body})
        return
    say(f"{method} {where}")
    for name, value in headers.items():
        say(f"{name}: {value}")
    with suppress(ValueError):  # a template may make what it likes
        body = json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    say(f"\n{body}")


@app.command()
def routes(
    kind: Kind,
    status: StatusWord,
    *,
    label: Annotated[list[str] | None, typer.Option(help="name=value; may be repeated.")] = None,
    account: Account = "default",
    group: Annotated[str | None, typer.Option(help="The group of the task.")] = None,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Show who would hear of such an end, and by which route."""
    settings = _load(config).config
    attributes = RoutingAttributes(account=account, group=group, labels=labels(label or []))
    event = sample_event(_kind(kind), _status(status), at=datetime.now(UTC), attributes=attributes)
    heard = destinations_for(event, routes=settings.routes, destinations=settings.destinations, notify=None)
    matching = [(f"routes[{number}]", route) for number, route in enumerate(settings.routes)
                if matches(route.condition, event)]  # fmt: skip
    by = {name: [place for place, route in matching if name in route.notify] for name in heard}
    if as_json:
        say_json([{"destination": name, "routes": places} for name, places in by.items()])
    elif not heard:
        say("no destination", err=True)
    else:
        print_table(
            ("destination", "routes"),
            [(name, ", ".join(places) or "no routes: all hear everything") for name, places in by.items()],
        )


def _kind(word: str) -> str:
    found = kinds.find_kind(word)
    if found is None:
        close = kinds.suggest_kind(word)
        exit_with(Exit.USAGE, f"{word!r} is no kind of task{f' (did you mean {close}?)' if close else ''}")
    return found.name


def _status(word: str) -> Status:
    terminal = [status for status in Status if status is not Status.PENDING]
    try:
        status = Status(word.upper())
    except ValueError:
        status = Status.PENDING
    if status is Status.PENDING:
        exit_with(Exit.USAGE, f"{word!r} is no status that a task ends with: {', '.join(terminal)}")
    return status


def _load(path: Path | None) -> configuration.LoadedConfig:
    try:
        return configuration.load(configuration.find(None if path is None else str(path), os.environ), os.environ)
    except configuration.ConfigError as error:
        exit_with(Exit.CONFIG, str(error))


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="Where the copy goes.")],
    *,
    force: Annotated[bool, typer.Option("--force", help="Overwrite FILE if it is there.")] = False,
    config: ConfigPath = None,
) -> None:
    """Copy the database to FILE, as it is at this moment; the daemon may go on meanwhile."""
    try:
        database = configuration.database(None if config is None else str(config), os.environ)
    except configuration.ConfigError as error:
        exit_with(Exit.CONFIG, str(error))
    try:
        size = back_up(database, file, replace=force)
    except BackupError as error:
        exit_with(Exit.DATABASE, str(error))
    say(f"{file}: {size / 1e6:.1f} MB, as {database} was just now")
