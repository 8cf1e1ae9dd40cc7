"""Disks that turn read-only, fill up before the start, or hold a damaged file: said clearly, nothing lost, no crash."""

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess

import pytest
from events import hear, hook, ids_of, settings, watch
from processes import command
from receivers import Reply

HOOK = "/hook"
TASKS = 10


def run(*words):
    return subprocess.run(words, capture_output=True, check=False)


class Disk:
    """A file system of its own in a file, which can turn read-only under whoever writes, as when its disk fails."""

    def __init__(self, image, folder):
        self._image, self.folder = image, folder

    def mount(self):
        return run("mount", "-o", "loop", self._image, self.folder).returncode == 0

    def fail(self):
        run("mount", "-o", "remount,abort", self.folder)
        with pytest.raises(OSError, match="Read-only"):
            (self.folder / "probe").touch()

    def repair(self):
        """Nobody may have it open any more."""
        assert run("umount", self.folder).returncode == 0
        run("e2fsck", "-fy", self._image)
        assert self.mount()


@pytest.fixture
def disk(tmp_path):
    folder, image = tmp_path / "disk", tmp_path / "image"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(32 << 20)
    made = Disk(image, folder)
    if os.geteuid() != 0 or run("mkfs.ext4", "-q", image).returncode != 0 or not made.mount():
        pytest.skip("needs root, mkfs.ext4 and a loop device, for a disk that may fail")
    yield made
    run("umount", "-l", folder)


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() != 0 or run("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder).returncode != 0:
        pytest.skip("needs root, for a disk that may fill up")
    yield folder
    run("umount", "-l", folder)


def fill(folder):
    with (folder / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        while True:
            filler.write(bytes(4096))


async def refused(made):
    """What a registration is answered, while nothing can be stored."""
    answer = await made.api.post({"kind": "dub", "task_id": "refused"})
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) > 0
    assert "nothing was stored" in answer.document["detail"]


async def test_a_disk_that_turns_read_only_loses_nothing(process, camb, receivers, until, disk):
    """Nothing new is taken, what was posted is not posted again, and a repaired disk has everything told once."""
    held = asyncio.Event()
    receivers.script(HOOK, Reply(held=held), Reply(held=held), Reply())
    made = await process(
        settings(
            destinations={"hook": hook(receivers, HOOK, concurrency=2)},
            store={"url": f"sqlite:///{disk.folder}/cambwatch.db"},
            polling={"interval": "200ms"},
        )
    )
    posted = [camb.add("dub", status="ERROR") for _ in range(2)]
    pending = [camb.add("dub", status="PENDING") for _ in range(TASKS)]
    await watch(made.api, "dub", *posted, *pending)
    await receivers.until(lambda: len(receivers.requests) == 2)

    disk.fail()
    await refused(made)
    answer = await made.api.get("/readyz")
    assert answer.status == 503
    assert "read" in answer.document["reasons"][0]
    assert str(disk.folder) in answer.document["reasons"][0]
    assert (await made.api.get("/healthz")).status == 200
    assert (await made.api.get(f"/v1/tasks/dub/{pending[0]}")).status == 200
    held.set()
    for task in pending:
        camb.add("dub", task, status="ERROR")
    await until(lambda: {line["operation"] for line in made.said("store.unavailable")} >= {"attempt", "conclusion"})
    assert len(receivers.requests) == 2
    asked = sum(camb.polls(task) for task in pending)
    assert await made.stop() == 0
    assert asked < 20 * TASKS

    disk.repair()
    await made.start()
    await hear(receivers, *posted, *pending)
    assert (await made.api.get("/v1/tasks/dub/refused")).status == 404
    ids = ids_of(receivers.requests)
    assert sorted(ids.count(each) for each in set(ids)) == [1] * TASKS + [2, 2]  # twice: answered, and never written
    assert await made.stop() == 0


async def test_a_disk_that_is_full_at_the_start_says_so_and_waits_for_room(process, camb, receivers, small_disk):
    """Exit 74, at which systemd tries again; as soon as there is room, everything that was owed is told."""
    made = await process(
        settings(
            destinations={"hook": hook(receivers, HOOK)},
            store={"url": f"sqlite:///{small_disk}/cambwatch.db"},
        )
    )
    task = camb.add("dub", status="PENDING")
    await watch(made.api, "dub", task)
    await made.kill()
    for name in small_disk.glob("*-shm"):
        name.unlink()
    fill(small_disk)
    ended = await command("run", "--config", str(made.config), cwd=made.config.parent)
    assert ended.status == 74, ended
    assert "Traceback" not in ended.err
    assert "room" in ended.err
    (small_disk / "filler").unlink()
    camb.add("dub", task, status="ERROR")
    await made.start()
    await hear(receivers, task)
    assert await made.stop() == 0


def damage(path, table):
    """Write rubbish over the first page of *table*, and over nothing else."""
    connection = sqlite3.connect(path)
    ((page,),) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchall()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
    connection.close()
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xee" * 4096)


@pytest.mark.parametrize("table", ["tasks", "ix_tasks_status", "ix_deliveries_fresh", "alembic_version"])
async def test_a_damaged_file_ends_the_start_with_what_to_do(process, tmp_path, table):
    """Exit 74; and the file is left as it is, for whoever can save something of it."""
    made = await process()
    await watch(made.api, "dub", *(f"t{number}" for number in range(TASKS)))
    assert await made.stop() == 0
    path = tmp_path / "cambwatch.db"
    damage(path, table)
    before = path.read_bytes()
    ended = await command("run", "--config", str(made.config), cwd=tmp_path)
    assert ended.status == 74, ended
    assert "Traceback" not in ended.err
    assert "restore a backup" in ended.err
    assert path.read_bytes() == before


async def test_a_file_that_is_damaged_while_it_is_used_stops_nobody(process, camb, receivers, until, tmp_path):
    """It is said, nothing is acknowledged, and no process dies of it; a restored copy is told from."""
    made = await process(settings(destinations={"hook": hook(receivers, HOOK)}))
    task = camb.add("dub", status="PENDING")
    await watch(made.api, "dub", task)
    path, copy = tmp_path / "cambwatch.db", tmp_path / "copy.db"
    assert (await command("backup", str(copy), "--config", str(made.config), cwd=tmp_path)).status == 0
    for table in ("tasks", "events", "deliveries", "ix_deliveries_fresh", "ix_tasks_status", "destinations"):
        damage(path, table)
    # More than is in its cache.
    camb.add("dub", task, status="ERROR")
    await until(lambda: made.said("store.unavailable"))
    assert "restore a backup" in made.said("store.unavailable")[0]["error"]
    await refused(made)
    answer = await made.api.get("/readyz")
    assert answer.status == 503
    assert "restore a backup" in answer.document["reasons"][0]
    assert (await made.api.get("/healthz")).status == 200
    assert not made.said("service.crashed")
    made.signal(signal.SIGTERM)
    assert await made.ended() == 0
    for end in ("-wal", "-shm"):
        (tmp_path / f"cambwatch.db{end}").unlink(missing_ok=True)
    copy.replace(path)
    await made.start()
    await hear(receivers, task)
    assert await made.stop() == 0
