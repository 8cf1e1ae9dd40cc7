"""One daemon on one SQLite file; it is also killed in the midst of what it writes to that."""

import asyncio
import contextlib
import sqlite3
import struct
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from deployment import configuration
from killing import Aim, Moment, Trap
from node import Node, free_port

DATABASE = "cambwatch.db"
_FILES = {Moment.LOG_WRITTEN: f"{DATABASE}-wal", Moment.CHECKPOINT: DATABASE}
_FRAME = struct.Struct(">IIII")  # https://www.sqlite.org/fileformat2.html#walformat: page, size after a commit, salts
_FRAME_BYTES = 24
_HEADER_BYTES = 32


class OnSqlite:
    """See Deployment. *folder* gets the database, the configuration and the log of the daemon."""

    moments: Mapping[Moment, int] = MappingProxyType({Moment.LOG_WRITTEN: 8, Moment.CHECKPOINT: 1})
    removal_grace_s = 2.0
    frozen_share = 0.0  # there is no lease to lose, and nobody who would take over
    frozen_s = 0.0

    def __init__(self, folder: Path, *, camb: str, receivers: str, trap: Trap) -> None:
        self._folder = folder
        self._trap = trap
        self._database = folder / DATABASE
        config = configuration(
            "node-1",
            store={"url": f"sqlite:///{self._database}"},
            listen=f"127.0.0.1:{free_port()}",
            camb=camb,
            receivers=receivers,
        )
        self.nodes: Sequence[Node] = (Node("node-1", folder, config),)
        self._watcher: asyncio.subprocess.Process | None = None
        self._hearing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._watcher = await asyncio.create_subprocess_exec(
            *(sys.executable, "-S", "-E", str(Path(__file__).with_name("log_watcher.py")), str(self._folder)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        if await self._said() != "watching":
            raise RuntimeError("the folder of the database cannot be watched with inotify")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aim_no_more()
        for node in self.nodes:
            node.kill()
            await node.reap()
        assert self._watcher is not None
        self._watcher.kill()
        await self._watcher.wait()

    async def aim(self, aim: Aim) -> None:
        file = _FILES.get(aim.moment)
        if file is None:
            return
        (node,) = self.nodes
        # Each page of a commit is two changes, of which some are seen as one; a commit has two to some dozen pages.
        nth = aim.nth * aim.nth if aim.moment is Moment.LOG_WRITTEN else aim.nth
        self._tell(f"{node.pid} {file} {nth} {aim.linger_s:.6f}")
        self._hearing = asyncio.create_task(self._hear(node))

    async def aim_no_more(self) -> None:
        if self._hearing is not None:
            self._tell("off")
            await self._hearing
            self._hearing = None

    async def _hear(self, node: Node) -> None:
        # What was killed is answered to before the order to stop is: both come, in this order.
        while (word := await self._said()) != "off":
            if word == "killed":
                self._trap.sprung_elsewhere(node)
            elif not word:
                raise RuntimeError("the watcher of the database has ended")

    def _tell(self, line: str) -> None:
        assert self._watcher is not None
        assert self._watcher.stdin is not None
        self._watcher.stdin.write(line.encode() + b"\n")

    async def _said(self) -> str:
        assert self._watcher is not None
        assert self._watcher.stdout is not None
        return (await self._watcher.stdout.readline()).decode().strip()

    def autopsy(self) -> Mapping[str, Any]:
        pages = open_pages(self._database.with_name(f"{DATABASE}-wal"))
        return {"within_commit": pages > 0, "open_pages": pages}

    async def examine(self) -> list[str]:
        with contextlib.closing(sqlite3.connect(self._database)) as database:
            said = [row[0] for row in database.execute("PRAGMA integrity_check")]
            broken = database.execute("PRAGMA foreign_key_check").fetchall()
        return [*(one for one in said if one != "ok"), *(f"foreign key: {row}" for row in broken)]


def open_pages(log: Path) -> int:
    """
    The pages behind the last commit in the write-ahead log *log*: above 0, its writer died within a commit.

    Frames of an earlier life of the log, which have other salts, do not count, nor does a last one that is cut.
    """
    with contextlib.suppress(FileNotFoundError), log.open("rb") as frames:
        head = frames.read(_HEADER_BYTES)
        if len(head) < _HEADER_BYTES:
            return 0
        page_bytes = int.from_bytes(head[8:12], "big")
        salts = struct.unpack_from(">II", head, 16)
        waiting = 0
        while len(frame := frames.read(_FRAME_BYTES + page_bytes)) == _FRAME_BYTES + page_bytes:
            _, size_after_commit, *found = _FRAME.unpack_from(frame)
            if tuple(found) != salts:
                break
            waiting = 0 if size_after_commit else waiting + 1
        return waiting
    return 0
