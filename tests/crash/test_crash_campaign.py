"""A short campaign of crashes, and that kills fall where they are said to. The long one is `make crash-test`."""

import asyncio
import itertools
import json
import sqlite3
import subprocess
import sys
import textwrap
from random import Random

import pytest
from campaign import campaign
from counting_receivers import described
from deployment_sqlite import OnSqlite, open_pages
from killing import EVERYWHERE, Aim, Moment, Trap, aims
from outcome import table

KILLS = 8
SEED = 20261122


@pytest.mark.timeout(180)
def test_a_short_campaign_keeps_every_promise(tmp_path):
    """On SQLite; the log has a line for each kill, and the verdict."""
    outcome = campaign(KILLS, SEED, "sqlite", folder=tmp_path)
    assert outcome.findings == [], table(outcome)
    assert sum(outcome.kills.values()) == outcome.counts["kills"] == KILLS
    assert outcome.counts["deliveries owed"] > KILLS
    lines = [json.loads(line) for line in (tmp_path / "campaign.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["begun", *["killed"] * KILLS, "ended"]
    assert lines[0]["seed"] == SEED


@pytest.mark.parametrize("store", [OnSqlite.moments, {Moment.COMMIT_DONE: 9}])
def test_a_seed_chooses_the_same_kills_again(store):
    def first(seed):
        draw = aims(Random(seed), {**EVERYWHERE, **store}, nodes=3)
        return [draw() for _ in range(200)]

    assert first(1) == first(1)
    assert first(1) != first(2)
    assert {aim.moment for aim in first(1)} == {*EVERYWHERE, *store}


@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_some_are_frozen_instead(share):
    """As many as were asked for."""
    draw = aims(Random(SEED), EVERYWHERE, nodes=3, frozen_share=share)
    assert sum(draw().freeze for _ in range(2000)) == pytest.approx(2000 * share, abs=60)


class Victim:
    """Stands for a node: to be killed is all that it can."""

    name = "node-1"

    def __init__(self):
        self.alive = True
        self.kills = self.freezes = 0

    def kill(self):
        self.alive = False
        self.kills += 1

    def freeze(self):
        self.alive = False
        self.freezes += 1


async def test_a_trap_kills_at_the_nth_moment_of_its_kind_and_once():
    trap, victim = Trap(), Victim()
    sprung = trap.set(Aim(Moment.POST_ANSWERED, nth=2, pause_s=0, linger_s=0, node=0))
    reached = [
        trap.reach(moment, victim)
        for moment in (Moment.POST_ANSWERED, Moment.POST_RECEIVED, Moment.POST_ANSWERED, Moment.POST_ANSWERED)
    ]
    assert reached == [False, False, True, False]
    assert sprung.result() is victim
    assert victim.kills == 1


async def test_a_trap_may_freeze_and_then_nothing_is_withheld():
    """What the process has sent goes on its way: it lives."""
    trap, victim = Trap(), Victim()
    sprung = trap.set(Aim(Moment.COMMIT_SENT, nth=1, pause_s=0, linger_s=0, node=0, freeze=True))
    assert not trap.reach(Moment.COMMIT_SENT, victim)
    assert sprung.result() is victim
    assert (victim.kills, victim.freezes) == (0, 1)


async def test_a_trap_that_lingers_lets_the_process_go_on_for_a_moment():
    trap, victim = Trap(), Victim()
    sprung = trap.set(Aim(Moment.POST_ANSWERED, nth=1, pause_s=0, linger_s=0.01, node=0))
    assert not trap.reach(Moment.POST_ANSWERED, victim)
    assert victim.alive
    assert await sprung is victim
    assert not victim.alive


async def test_a_trap_that_was_given_up_kills_nobody():
    """Not even one that lingers already: the process may be another one by then."""
    trap, victim = Trap(), Victim()
    trap.set(Aim(Moment.POST_ANSWERED, nth=1, pause_s=0, linger_s=0.01, node=0))
    trap.reach(Moment.POST_ANSWERED, victim)
    trap.clear()
    later = trap.set(Aim(Moment.POLL_ANSWERED, nth=1, pause_s=0, linger_s=0.05, node=0))
    trap.reach(Moment.POLL_ANSWERED, victim)
    await later
    assert victim.kills == 1


WRITER = """
    import sqlite3, sys
    database = sqlite3.connect(sys.argv[1], isolation_level=None)
    for pragma in ("journal_mode=WAL", "synchronous=FULL"):
        database.execute(f"PRAGMA {pragma}").fetchall()
    database.execute("CREATE TABLE IF NOT EXISTS ours (number INTEGER, filler TEXT)")
    print("ready", flush=True)
    while True:
        database.execute("BEGIN")
        database.executemany("INSERT INTO ours VALUES (?, ?)", [(number, "x" * 3000) for number in range(300)])
        database.execute("COMMIT")
"""


class Writing(Victim):
    """A process that does nothing but write commits of some hundred pages."""

    def __init__(self, folder):
        super().__init__()
        script = folder / "writer.py"
        script.write_text(textwrap.dedent(WRITER))
        self._child = subprocess.Popen([sys.executable, script, folder / "cambwatch.db"], stdout=subprocess.PIPE)
        self._child.stdout.readline()

    @property
    def pid(self):
        return self._child.pid

    def kill(self):
        super().kill()
        self._child.kill()

    async def reap(self):
        with self._child:
            self._child.wait()


async def test_a_kill_falls_within_a_commit(tmp_path):
    """The log ends with pages of a commit that was never completed, and what is read is all or nothing of each."""
    trap = Trap()
    deployment = OnSqlite(tmp_path, camb="http://127.0.0.1:9", receivers="http://127.0.0.1:9", trap=trap)
    log = tmp_path / "cambwatch.db-wal"
    async with deployment, asyncio.timeout(30):
        for nth in itertools.count(1):
            writer = Writing(tmp_path)
            deployment.nodes = (writer,)
            aim = Aim(Moment.LOG_WRITTEN, nth=nth, pause_s=0, linger_s=0, node=0)
            sprung = trap.set(aim)
            await deployment.aim(aim)
            await sprung
            await deployment.aim_no_more()
            await writer.reap()
            if open_pages(log):
                break
        assert deployment.autopsy() == {"within_commit": True, "open_pages": open_pages(log)}
        assert await deployment.examine() == []
    database = sqlite3.connect(tmp_path / "cambwatch.db")
    assert database.execute("SELECT count(*) % 300 FROM ours").fetchone() == (0,)
    database.close()


@pytest.mark.parametrize("content", [None, b"", b"short", bytes(32)])
def test_a_log_without_pages_ends_with_none(tmp_path, content):
    log = tmp_path / "log"
    if content is not None:
        log.write_bytes(content)
    assert open_pages(log) == 0


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"type": "camb.task.error", "data": {"task_id": "t-1", "status": "ERROR"}}, ("task t-1", "ERROR")),
        ({"type": "camb.group.complete", "data": {"group": "g-1", "tasks": 3}}, ("group g-1", "3")),
    ],
)
def test_a_notification_is_known_by_what_it_is_about(document, expected):
    assert described(document) == expected
