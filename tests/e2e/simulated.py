"""
A pretend Camb by itself, for the tests of the simulator: its time is the test's, its client has a key.

A test module that imports `served_bench` has it as the fixture `camb`, instead of
the one that stands beside the daemon in the other tests.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import aiohttp
import pytest

from cambwatch.simulator import Settings, Simulator, serve
from cambwatch.simulator.creation import REQUIRED

NOON = datetime(2026, 11, 22, 12, 0, 0, 250_000, tzinfo=UTC)
KEY = {"x-api-key": "k"}
LONG_S = 100_000.0  # by then every task has ended
BODIES = {kind: dict.fromkeys(names, "1") for kind, names in REQUIRED.items()}


@dataclass
class HandClock:
    """Seconds that pass only when the test says so."""

    now_s: float = 50.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Bench:
    """A served simulator, its clock, and a client with a key."""

    simulator: Simulator
    clock: HandClock
    base_url: str
    http: aiohttp.ClientSession

    @property
    def origin(self) -> str:
        """Where the control API is."""
        return self.base_url.removesuffix("/apis")

    async def get(self, path: str, **options):
        """HTTP status and JSON document of a GET under /apis."""
        async with self.http.get(self.base_url + path, **options) as answer:
            return answer.status, await answer.json()

    async def post(self, path: str, document, **options):
        """HTTP status and JSON document of a POST under /apis."""
        async with self.http.post(self.base_url + path, json=document, **options) as answer:
            return answer.status, await answer.json()

    async def control(self, method: str, path: str, document=None):
        """HTTP status and JSON document of a request to the control API, without a key."""
        async with (
            aiohttp.ClientSession() as anybody,
            anybody.request(method, f"{self.origin}/simulator{path}", json=document) as answer,
        ):
            return answer.status, await answer.json()


@asynccontextmanager
async def bench(settings: Settings = Settings()) -> AsyncIterator[Bench]:  # noqa: B008
    clock = HandClock()
    simulator = Simulator(settings, clock=clock, wall=lambda: NOON)
    async with serve(simulator) as base_url, aiohttp.ClientSession(headers=KEY) as http:
        yield Bench(simulator, clock, base_url, http)


@pytest.fixture(name="camb")
async def served_bench() -> AsyncIterator[Bench]:
    async with bench() as made:
        yield made
