"""
Kill cambwatch again and again while it works, and count at the receivers what came of it.

    python tests/crash/campaign.py --kills 100 [--seed 7] [--store sqlite|postgres] [--log FILE]

The exit status is 0 if every promise was kept; see docs/crash-campaign.md.
"""

import argparse
import asyncio
import contextlib
import json
import secrets
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
from camb_under_faults import FaultyCamb
from counting_receivers import Receivers
from deployment import Deployment
from deployment_postgres import OnPostgres
from deployment_sqlite import OnSqlite
from killing import EVERYWHERE, LONG_PATIENCE_S, PATIENCE_S, Aim, Moment, Trap, aims
from load import Book, Client, clients_session
from node import Node, NotReadyError
from outcome import Outcome, table
from verdict import Fault, Finding, doubles, judge

CLIENTS = 3
DRAIN_S = 120.0  # so long after the last kill everything owed must have come
QUIET_S = 1.6  # the longest pause of a destination is half a second, and a Retry-After is one
LONGEST_QUIET_S = 60.0


@dataclass
class Kills:
    """What was killed when."""

    by_moment: Counter[Moment] = field(default_factory=Counter)
    within_commit: int = 0
    at_s: list[float] = field(default_factory=list)
    thaws_s: list[float] = field(default_factory=list)  # the ends of those that were no kills, but freezes


class Campaign:
    """One run. Everything that is chosen, *seed* chooses; what that meets is up to the machine."""

    def __init__(
        self,
        kills: int,
        seed: int,
        store: str,
        *,
        folder: Path,
        note: Callable[[str, dict[str, Any]], None],
        longest_s: float | None = None,
    ):
        """*note* writes a line of the log. After *longest_s* nothing is killed any more."""
        self._wanted = kills
        self._longest_s = longest_s or inf
        self._store = store
        self._folder = folder
        self._note = note
        self._dice = Random(seed)
        self._trap = Trap()
        self._by_name: dict[str, Node] = {}
        self._kills = Kills()
        self._book = Book()
        self._camb = FaultyCamb(self._dice.getrandbits(32), self._trap, self._by_name)
        self._receivers = Receivers(self._dice.getrandbits(32), self._trap, self._by_name)

    async def run(self) -> Outcome:
        """The whole campaign, to its verdict."""
        begun_s = time.monotonic()
        findings: list[Finding] = []
        async with AsyncExitStack() as running:
            await running.enter_async_context(self._camb.serve())
            await running.enter_async_context(self._receivers.serve())
            http = await running.enter_async_context(clients_session(self._trap))
            deployment = await running.enter_async_context(self._deploy())
            self._by_name |= {node.name: node for node in deployment.nodes}
            try:
                await self._kill_under_load(deployment, http)
                killed_s = time.monotonic()
                await self._drain(deployment, http)
            except* (NotReadyError, TimeoutError) as trouble:
                killed_s = time.monotonic()
                findings += [Finding(Fault.DIED, said) for said in _reasons(trouble)]
            for node in deployment.nodes:
                node.kill()
                await node.reap()
            findings += [Finding(Fault.DIED, said) for said in await deployment.examine()]
            promises, posts = self._book.promises(), self._receivers.posts
            findings += self._book.findings
            kills = self._kills
            findings += judge(
                promises,
                posts,
                kills_s=[*kills.at_s, *kills.thaws_s],
                grace_s=deployment.removal_grace_s,
                thaws_s=kills.thaws_s,
            )
            tasks = self._book.tasks.values()
            return Outcome(
                findings=findings,
                kills={moment.value: self._kills.by_moment[moment] for moment in Moment},
                counts={
                    "tasks accepted": sum(task.accepted for task in tasks),
                    "of them removed": sum(task.removed_at_s is not None for task in tasks),
                    "groups": len(self._book.groups),
                    "events owed": sum(promise.owed and bool(promise.hears) for promise in promises),
                    "deliveries owed": sum(len(promise.hears) for promise in promises if promise.owed),
                    "posts": len(posts),
                    "posts answered badly": sum(not post.accepted for post in posts),
                    "doubles (same webhook-id)": doubles(posts),
                    "polls": self._camb.polls,
                    "requests of clients without an answer": self._book.counts["unanswered"],
                    "kills": len(kills.at_s),
                    "of them within a commit": kills.within_commit,
                    "of them freezes beyond the lease": len(kills.thaws_s),
                    "restarts": sum(node.starts for node in deployment.nodes) - len(deployment.nodes),
                    "seconds under kills": round(killed_s - begun_s),
                    "seconds": round(time.monotonic() - begun_s),
                },
            )

    def _deploy(self) -> Deployment:
        kind: type[OnSqlite | OnPostgres] = OnPostgres if self._store == "postgres" else OnSqlite
        return kind(self._folder, camb=self._camb.url, receivers=self._receivers.url, trap=self._trap)

    async def _kill_under_load(self, deployment: Deployment, http: aiohttp.ClientSession) -> None:
        dices = [Random(self._dice.getrandbits(32)) for _ in range(CLIENTS)]
        draw = aims(
            self._dice,
            {**EVERYWHERE, **deployment.moments},
            nodes=len(deployment.nodes),
            frozen_share=deployment.frozen_share,
        )

        def alive(number: int) -> Node | None:
            living = [node for node in deployment.nodes if node.alive]
            return living[number % len(living)] if living else None

        stop = asyncio.Event()
        for node in deployment.nodes:
            await node.start()
        started = deployment.nodes[0]
        async with asyncio.timeout(None) as patience, asyncio.TaskGroup() as group:
            for number, dice in enumerate(dices):
                client = Client(number, dice, self._book, self._camb, trap=self._trap, alive=alive)
                group.create_task(client.work(http, stop), name=f"client {number}")
            until_s = time.monotonic() + self._longest_s
            for number in range(1, self._wanted + 1):
                if time.monotonic() > until_s:
                    break
                aim = draw()
                begun_s = time.monotonic()
                node, moment = await self._kill(aim, deployment, http, started)
                killed_s = node.killed_at_s[-1]
                if not aim.freeze:
                    await node.reap()
                seen = {} if aim.freeze else dict(deployment.autopsy())
                self._kills.by_moment[moment] += 1
                self._kills.within_commit += bool(seen.get("within_commit"))
                self._kills.at_s.append(killed_s)
                took = {"after_s": round(killed_s - begun_s, 3), "linger_ms": round(aim.linger_s * 1e3, 2)}
                what = {"node": node.name, "moment": moment.value, "aimed_at": aim.moment.value, "nth": aim.nth}
                self._note("frozen" if aim.freeze else "killed", {"number": number, **what, **took, **seen})
                if aim.freeze:
                    await asyncio.sleep(deployment.frozen_s)
                    node.thaw()
                    self._kills.thaws_s.append(node.killed_at_s[-1])
                else:
                    await node.start()
                started = node
            stop.set()
            patience.reschedule(asyncio.get_running_loop().time() + DRAIN_S)  # clients finish what they have begun

    async def _kill(
        self, aim: Aim, deployment: Deployment, http: aiohttp.ClientSession, started: Node
    ) -> tuple[Node, Moment]:
        """Kill or freeze a node as *aim* says; returns it, and which moment it was. *started* began a moment ago."""
        if aim.moment is Moment.STARTING:
            await asyncio.sleep(aim.pause_s)
            started.check()
            aim.strike(started)
            return started, Moment.STARTING
        several = len(deployment.nodes) > 1
        for node in deployment.nodes:
            if node is not started or aim.all_up or not several:
                await node.until_ready(http)
        await asyncio.sleep(aim.pause_s)
        aimed_at = deployment.nodes[aim.node]
        for node in deployment.nodes:
            node.check()
        if aim.moment is not Moment.AT_RANDOM:
            sprung = self._trap.set(aim)
            await deployment.aim(aim)
            await asyncio.wait([sprung], timeout=LONG_PATIENCE_S.get(aim.moment, PATIENCE_S))
            await deployment.aim_no_more()
            self._trap.clear()
            if sprung.done():
                return sprung.result(), aim.moment
        aim.strike(aimed_at)
        return aimed_at, Moment.AT_RANDOM

    async def _drain(self, deployment: Deployment, http: aiohttp.ClientSession) -> None:
        """No more kills and faults: wait until all is told and quiet, stop in good order, and see that it stays so."""
        self._camb.calm_down()
        self._receivers.faulty = False
        owed = {
            (promise.event, destination)
            for promise in self._book.promises()
            if promise.owed
            for destination in promise.hears
        }
        until_s = time.monotonic() + DRAIN_S
        while not owed <= self._receivers.accepted and time.monotonic() < until_s:
            for node in deployment.nodes:
                node.check()
            await asyncio.sleep(0.05)
        await self._quiet()
        for node in deployment.nodes:
            if (status := await node.stop()) != 0:
                raise NotReadyError(f"{node.name} was told to stop and ended with {status}, see {node.log}")
        for node in deployment.nodes:
            await node.start()
        for node in deployment.nodes:
            await node.until_ready(http)
        await self._quiet()
        for node in deployment.nodes:
            await node.stop()

    async def _quiet(self) -> None:
        """Return when nothing was posted for QUIET_S; what goes on for ever is found as needless doubles."""
        until_s = time.monotonic() + LONGEST_QUIET_S
        seen, since_s = -1, 0.0
        while time.monotonic() < until_s:
            if seen != len(self._receivers.posts):
                seen, since_s = len(self._receivers.posts), time.monotonic()
            if time.monotonic() - since_s > QUIET_S:
                return
            await asyncio.sleep(0.05)


def _reasons(trouble: BaseException) -> list[str]:
    """What went wrong, of everything in a group of groups."""
    if isinstance(trouble, BaseExceptionGroup):
        return [reason for one in trouble.exceptions for reason in _reasons(one)]
    return [str(trouble) or f"{type(trouble).__name__}: it took too long"]


def campaign(
    kills: int, seed: int, store: str, *, folder: Path, log: Path | None = None, longest_s: float | None = None
) -> Outcome:
    """
    Run one in *folder*, which keeps the logs of all processes; *log* gets a line for each kill and the verdict.

    Of *kills* as many as there is time for in *longest_s*.
    """
    begun_s = time.monotonic()
    with (log or folder / "campaign.jsonl").open("a", encoding="utf-8") as lines:

        def note(event: str, fields: dict[str, Any]) -> None:
            lines.write(json.dumps({"event": event, "at_s": round(time.monotonic() - begun_s, 3), **fields}) + "\n")
            lines.flush()

        note("begun", {"kills": kills, "seed": seed, "store": store})
        outcome = asyncio.run(Campaign(kills, seed, store, folder=folder, note=note, longest_s=longest_s).run())
        for finding in outcome.findings:
            note("found", {"fault": finding.fault.value, "what": finding.what})
        note("ended", {"kept": not outcome.findings, "counts": dict(outcome.counts), "kills": dict(outcome.kills)})
        return outcome


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Kill cambwatch again and again, and count what came of it.")
    parser.add_argument("--kills", type=int, default=100, help="how often (default: 100)")
    parser.add_argument("--seed", type=int, help="repeats the choices of an earlier run (default: a new one)")
    parser.add_argument("--store", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--seconds", type=float, help="kill for so long at most (default: until all kills are made)")
    parser.add_argument("--log", type=Path, help="JSON lines: every kill, every finding, the counts")
    chosen = parser.parse_args(arguments)
    seed = secrets.randbelow(2**32) if chosen.seed is None else chosen.seed
    sys.stdout.write(f"{chosen.kills} kills on {chosen.store}, seed {seed}\n")
    sys.stdout.flush()
    folder = Path(tempfile.mkdtemp(prefix="cambwatch-crash-"))
    outcome = campaign(chosen.kills, seed, chosen.store, folder=folder, log=chosen.log, longest_s=chosen.seconds)
    sys.stdout.write(table(outcome))
    if outcome.findings:
        sys.stdout.write(f"\nNOT KEPT. The logs are in {folder}; repeat with --seed {seed}.\n")
        return 1
    sys.stdout.write("\nEvery promise was kept.\n")
    with contextlib.suppress(OSError):
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
