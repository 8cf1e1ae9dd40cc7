"""A real pgbouncer in front of a PostgreSQL server, of Debian's package."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

import pytest

from postgres_server import NOBODY, PASSWORD, PATIENCE_S, USER, free_port

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
needs_pgbouncer = pytest.mark.skipif(PROGRAM is None, reason="needs pgbouncer (apt-get install pgbouncer)")


class Pgbouncer:
    """On loopback, at `port`, in front of the server at *server_port*; *settings* are lines of its own file."""

    def __init__(self, server_port: int, **settings: str) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="cambwatch-pgbouncer-"))
        self.port = free_port()
        users = self._folder / "users"
        users.write_text(f'"{USER}" "{PASSWORD}"\n')
        lines = {
            "listen_addr": "127.0.0.1",
            "listen_port": str(self.port),
            "unix_socket_dir": "",
            "auth_type": "scram-sha-256",
            "auth_file": str(users),
            "logfile": str(self._folder / "log"),
            **settings,
        }
        text = f"[databases]\n* = host=127.0.0.1 port={server_port}\n[pgbouncer]\n"
        (self._folder / "ini").write_text(text + "".join(f"{name} = {value}\n" for name, value in lines.items()))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        assert PROGRAM is not None
        command = [PROGRAM, str(self._folder / "ini")]
        if os.geteuid() == 0:  # as which it does not run
            account = pwd.getpwnam(NOBODY)
            os.chown(self._folder, account.pw_uid, account.pw_gid)
            self._process = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                user=NOBODY, group=account.pw_gid, extra_groups=[],
            )  # fmt: skip
        else:
            self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until_s = time.monotonic() + PATIENCE_S
        while not self._listens():
            assert self._process.poll() is None, self.log
            assert time.monotonic() < until_s, self.log
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(PATIENCE_S)
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def log(self) -> str:
        """What it has written."""
        return (self._folder / "log").read_text(errors="replace")

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0
