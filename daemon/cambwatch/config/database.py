"""Where the daemon keeps its database, for a command that need not be able to run it."""

from collections.abc import Mapping
from pathlib import Path

from cambwatch.config.errors import Finding
from cambwatch.config.files import find, read_bytes
from cambwatch.config.load import examine


def database(path: str | None, environ: Mapping[str, str]) -> Path:
    """
    The SQLite file of the daemon with the configuration of find().

    Only `store` has to be right: whoever asks need not have the keys and URLs of the
    daemon. Raises ConfigError, also where the database is no file.
    """
    found = find(path, environ)
    examined = examine(read_bytes(found), file=str(found), folder=found.absolute().parent, environ=environ)
    examined.raise_for(finding for finding in examined.mistakes if finding.path[:1] in {(), ("store",)})
    assert examined.parts.store is not None  # noqa: S101 - without it there would be a mistake
    if (file := examined.parts.store.path) is None:
        examined.raise_for([Finding(("store", "url"), "is a PostgreSQL server: copy its database with pg_dump")])
    assert file is not None  # noqa: S101 - refused otherwise
    return file
