"""`cambwatch backup` beside a daemon at work, and what a daemon makes of the copy in another place."""

import asyncio
import shutil
import sqlite3

from events import hear, hook, ids_of, settings, watch
from processes import command
from receivers import Reply

TASKS = 20


async def test_a_copy_made_under_load_tells_all_that_it_owes(process, camb, receivers, until, tmp_path):
    """Under the ids that the first daemon would have told it by; what was pending is asked for again."""
    never = asyncio.Event()
    receivers.script("/hook", Reply(held=never))
    text = settings(destinations={"hook": hook(receivers)})
    made = await process(text)
    owed = [camb.add("dub", status="ERROR") for _ in range(TASKS)]
    pending = [camb.add("dub", status="PENDING") for _ in range(TASKS)]
    await watch(made.api, "dub", *owed, *pending)

    async def all_owed():
        page = (await made.api.get("/v1/deliveries?state=pending&limit=200")).document["items"]
        return len(page) == TASKS

    await until(all_owed)
    stop = asyncio.Event()

    async def load():
        while not stop.is_set():
            await watch(made.api, "dub", *(camb.add("dub", status="PENDING") for _ in range(20)))

    loading = asyncio.create_task(load())
    copy = tmp_path / "copy.db"
    said = await command("backup", str(copy), "--config", str(made.config), cwd=tmp_path)
    stop.set()
    await loading
    assert (said.status, said.err) == (0, "")
    assert said.out.startswith(f"{copy}: ")
    ids = {one["task_id"]: one["id"] for one in
           (await made.api.get("/v1/deliveries?state=pending&limit=200")).document["items"]}  # fmt: skip
    await made.kill()

    place = tmp_path / "new place"
    place.mkdir()
    shutil.copy(copy, place / "cambwatch.db")
    receivers.requests.clear()
    receivers.script("/hook", Reply())
    for task in pending:
        camb.add("dub", task, status="ERROR")
    again = await process(
        settings(destinations={"hook": hook(receivers)}, store={"url": f"sqlite:///{place}/cambwatch.db"})
    )
    await hear(receivers, *owed, *pending)
    told = {request.document["data"]["task_id"]: request.headers["webhook-id"] for request in receivers.requests}
    assert {task: told[task] for task in owed} == {task: ids[task] for task in owed}
    assert len(set(ids_of(receivers.requests))) == len(receivers.requests)
    assert await again.stop() == 0


async def test_what_ended_after_the_copy_is_told_again_under_the_id_that_receivers_know(
    process, camb, receivers, until, tmp_path
):
    """So a restore costs a notification that they drop, and no more; the old log must not be there any more."""
    made = await process(settings(destinations={"hook": hook(receivers)}))
    task = camb.add("dub", status="PENDING")
    await watch(made.api, "dub", task)
    copy = tmp_path / "copy.db"
    assert (await command("backup", str(copy), "--config", str(made.config), cwd=tmp_path)).status == 0
    camb.add("dub", task, status="ERROR")
    await hear(receivers, task)
    await made.kill()
    # As the README has it.
    for end in ("-wal", "-shm"):
        (tmp_path / f"cambwatch.db{end}").unlink(missing_ok=True)
    shutil.copy(copy, tmp_path / "cambwatch.db")
    await made.start()
    await receivers.until(lambda: len(receivers.requests) == 2)
    assert len(set(ids_of(receivers.requests))) == 1
    assert await made.stop() == 0


async def test_a_copy_needs_no_daemon_and_no_key(process, tmp_path):
    """Only `store` has to be right; a file that is there is kept, but with --force."""
    made = await process()
    await made.stop()
    config = made.config.read_text()
    made.config.write_text(config.replace("the-test-key", "${NO_SUCH_VARIABLE}"))
    copy = tmp_path / "copy.db"
    words = ("backup", str(copy), "--config", str(made.config))
    assert (await command(*words, cwd=tmp_path)).status == 0
    first = copy.stat().st_ino
    again = await command(*words, cwd=tmp_path)
    assert (again.status, again.out) == (74, "")
    assert "--force" in again.err
    assert copy.stat().st_ino == first
    assert (await command(*words, "--force", cwd=tmp_path)).status == 0
    assert copy.stat().st_ino != first
    made.config.write_text("store: {url: mysql://x}\n")
    assert (await command(*words, "--force", cwd=tmp_path)).status == 78


async def test_the_database_of_the_service_is_found_in_its_state_directory(process, tmp_path):
    """As systemd names it."""
    made = await process("store: {url: 'sqlite:///state.db'}", ready=None)
    state = tmp_path / "state"
    state.mkdir()
    await made.start(environ={"STATE_DIRECTORY": str(state)})
    await made.api.post({"kind": "dub", "task_id": "one"})
    copy = tmp_path / "copy.db"
    words = ("backup", str(copy), "--config", str(made.config))
    assert (await command(*words, cwd=tmp_path)).status == 74
    assert (await command(*words, cwd=tmp_path, STATE_DIRECTORY=str(state))).status == 0
    database = sqlite3.connect(copy)
    assert database.execute("SELECT task_id FROM tasks").fetchall() == [("one",)]
    database.close()
