"""A simulator and the sockets on which it is served."""

import socket

import aiohttp
import pytest
from simulated import KEY, HandClock

from cambwatch.simulator import Simulator, serve


async def test_one_state_outlives_its_server():
    """A simulator can be stopped and served again, elsewhere, with all its tasks."""
    simulator = Simulator(clock=HandClock())
    simulator.add_task("tts", "t")
    for _ in range(2):
        async with (
            serve(simulator) as base_url,
            aiohttp.ClientSession(headers=KEY) as http,
            http.get(base_url + "/tts/t") as answer,
        ):
            assert answer.status == 200
    assert simulator.polls["t"] == 2


async def test_a_taken_port_is_an_error():
    """OSError, before anything is served."""
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="address already in use"):
        async with serve(Simulator(clock=HandClock()), port=taken.getsockname()[1]):
            pass
