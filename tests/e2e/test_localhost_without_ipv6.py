"""`listen: localhost:...` on a machine whose hosts file has `::1 localhost`, and which has no ::1."""

import asyncio
import os
import subprocess
import sys

import pytest
from processes import environment

HOSTS = "::1 localhost ip6-localhost\n127.0.0.1 localhost\n"
# A network and a view of the files of its own. The address is taken away, or IPv6 turned off for all interfaces.
WITHOUT_ADDRESS = "ip link set lo up && ip addr del ::1/128 dev lo"
TURNED_OFF = "ip link set lo up && echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6"


def isolated(setup, *words, hosts):
    return ("unshare", "--net", "--mount", "sh", "-c", f'mount --bind "$0" /etc/hosts && {setup} && exec "$@"',
            str(hosts), *words)  # fmt: skip


def skip_unless_possible(setup, hosts):
    if os.geteuid() != 0:
        pytest.skip("needs root, for a network without ::1")
    probe = "import socket; socket.create_server(('::1', 0), family=socket.AF_INET6)"
    try:
        tried = subprocess.run(
            isolated(setup, sys.executable, "-c", probe, hosts=hosts), check=False, capture_output=True, text=True
        )
    except FileNotFoundError:
        pytest.skip("needs unshare, for a network without ::1")
    if "OSError" not in tried.stderr:
        pytest.skip(f"cannot make a network without ::1: {tried.stderr.strip() or '::1 is still there'}")


@pytest.mark.parametrize("setup", [WITHOUT_ADDRESS, TURNED_OFF], ids=["without the address", "IPv6 turned off"])
async def test_the_addresses_that_exist_are_used(process, setup, tmp_path, until):
    hosts = tmp_path / "hosts"
    hosts.write_text(HOSTS)
    skip_unless_possible(setup, hosts)
    made = await process("http: {listen: 'localhost:0'}", ready=None)
    words = (sys.executable, "-m", "cambwatch", "run", "--config", str(made.config))
    with made.log.open("ab") as log:
        child = await asyncio.create_subprocess_exec(
            *isolated(setup, *words, hosts=hosts),
            env=environment(),
            cwd=made.config.parent,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        await until(lambda: made.said("service.started") or child.returncode is not None)
    finally:
        if child.returncode is None:
            child.terminate()
        status = await child.wait()
    assert status == 0, made.log.read_text()
    (started,) = made.said("service.started")
    assert started["address"].startswith("http://127.0.0.1:")
    assert "," not in started["address"]
    assert any("not listening at ::1" in line["hint"] for line in made.said("config.warning"))
