"""The command that copies the database, whether a daemon uses it or not."""

import os
from pathlib import Path
from typing import Annotated

import typer

from cambwatch import config as configuration
from cambwatch.adapters.store.backup import BackupError, back_up
from cambwatch.adapters.terminal import say
from cambwatch.cli.operations import ConfigPath, Exit, exit_with


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
