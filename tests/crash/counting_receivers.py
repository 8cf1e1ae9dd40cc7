"""Receivers that write every request down, and answer some of them badly; this list is what a campaign is judged by."""

import asyncio
import hashlib
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from random import Random
from types import MappingProxyType
from typing import Any

from aiohttp import web
from answering import answered, hung_up
from killing import Moment, Trap
from node import Node
from verdict import Post

NODE_HEADER = "x-node"  # a header of the destination's, so that a receiver sees which node posts

SHARES: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "everything": {"500": 0.06, "503": 0.02, "429": 0.01, "reset": 0.07, "slow": 0.06},
        "failures": {"500": 0.25, "429": 0.02, "reset": 0.15, "slow": 0.10},
        "batches": {"500": 0.10, "reset": 0.15, "slow": 0.30},
    }
)
"""What befalls the requests of each receiver; `reset`: the connection breaks, after all was read."""

SLOW_S = 0.3
AGREED_AT = 4  # an event that was badly answered so often is accepted: in the end all are


class Receivers:
    """All of them on one port: the path is the name. *seed* decides who is answered badly."""

    def __init__(self, seed: int, trap: Trap, nodes: Mapping[str, Node]) -> None:
        """*nodes* may be filled later."""
        self.url = ""
        self.faulty = True
        self.posts: list[Post] = []
        self.accepted: set[tuple[str, str]] = set()
        self.answers: Counter[str] = Counter()
        self._seed = seed
        self._trap = trap
        self._nodes = nodes
        self._times: Counter[tuple[str, str]] = Counter()

    async def _post(self, request: web.Request) -> web.StreamResponse:
        at_s, destination = time.monotonic(), request.match_info["destination"]
        node = self._nodes.get(request.headers.get(NODE_HEADER, ""))
        body = await request.read()
        event, end = described(json.loads(body))
        self._times[event, destination] += 1
        word = self._draw(event, destination)
        self.answers[word] += 1
        fields = (at_s, destination, request.headers["webhook-id"], event, end, hashlib.sha256(body).hexdigest())
        if self._trap.reach(Moment.POST_RECEIVED, node):
            self.posts.append(Post(*fields, accepted=False))
            return hung_up(request)
        if word == "slow":
            await asyncio.sleep(SLOW_S)
        if word == "reset":
            self.posts.append(Post(*fields, accepted=False))
            return hung_up(request)
        status = int(word) if word.isdigit() else 204
        response = web.Response(status=status, headers={"retry-after": "1"} if status == 429 else {})
        told = await answered(request, response)
        # What was read from the socket of a process that is dead by now is no delivery: it never heard of it.
        accepted = told and status == 204 and (node is None or node.alive)
        self.posts.append(Post(*fields, accepted=accepted))
        if accepted:
            self.accepted.add((event, destination))
        self._trap.reach(Moment.POST_ANSWERED, node)
        return response

    def _draw(self, event: str, destination: str) -> str:
        times = self._times[event, destination]
        if not self.faulty or times >= AGREED_AT:
            return "accepted"
        # By event and attempt, not by the order of arrival: that is another one in each run.
        chance = Random(f"{self._seed} {destination} {event} {times}").random()
        for word, share in SHARES[destination].items():
            if (chance := chance - share) < 0:
                return word
        return "accepted"

    @asynccontextmanager
    async def serve(self) -> AsyncIterator["Receivers"]:
        """Listen on a free port of the loopback interface for the length of the block."""
        app = web.Application()
        app.router.add_post("/{destination}", self._post)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield self
        finally:
            await runner.cleanup()


def described(document: Any) -> tuple[str, str]:
    """What a notification is about, and which end it tells of; see Promise."""
    data = document["data"]
    if document["type"] == "camb.group.complete":
        return f"group {data['group']}", str(data["tasks"])
    return f"task {data['task_id']}", data["status"]
