"""What systemd and the service say to each other: sd_notify(3), sd_listen_fds(3), sd_watchdog_enabled(3)."""

import os
import socket
from collections.abc import MutableMapping, Sequence

import structlog

from cambwatch.core.addresses import is_loopback

FIRST_FD = 3  # SD_LISTEN_FDS_START
NOTIFY_S = 1.0  # systemd takes a datagram at once, unless it is itself in trouble

log = structlog.get_logger()


class ExposedError(Exception):
    """A socket that others than this machine can reach, and no token to tell them apart."""


def expects_notifications() -> bool:
    """Whether systemd wants to hear how the service is."""
    return bool(os.environ.get("NOTIFY_SOCKET"))


def notify(*lines: str) -> None:
    """
    Send *lines* such as READY=1 or STATUS=... to $NOTIFY_SOCKET, if it is set.

    A lost notification is no reason to stop serving, so OSError is not raised on.
    """
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.settimeout(NOTIFY_S)
            channel.sendto("\n".join(lines).encode(), address)
    except OSError as error:
        log.warning("systemd.unreachable", error=str(error))


def pop_watchdog_s(environ: MutableMapping[str, str], *, pid: int) -> float | None:
    """
    Within how many seconds WATCHDOG=1 has to come, again and again; None: systemd does not watch the process *pid*.

    Takes the variables out of *environ*: they are for nobody else.
    """
    micros, owner_pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", str(pid))
    if owner_pid != str(pid) or not micros.isdecimal() or int(micros) == 0:
        return None
    return int(micros) / 1_000_000


def pop_sockets(environ: MutableMapping[str, str], *, pid: int) -> list[socket.socket]:
    """
    The listening sockets that systemd holds for the process *pid*, in the order of the socket unit; mostly none.

    Takes the variables out of *environ*, so that neither a second call nor a child
    takes the sockets too. Raises OSError where one of them takes no connections.
    """
    owner_pid, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    environ.pop("LISTEN_FDNAMES", None)
    if owner_pid != str(pid) or not count.isdecimal():
        return []
    sockets = []
    for handle in range(FIRST_FD, FIRST_FD + int(count)):
        os.set_inheritable(handle, False)
        one = socket.socket(fileno=handle)
        if one.type != socket.SOCK_STREAM or not one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise OSError("the socket unit holds something else than ListenStream= with Accept=no")
        one.setblocking(False)
        sockets.append(one)
    return sockets


def address(one: socket.socket) -> str:
    """Where *one* listens, written as http.listen writes it."""
    if one.family == socket.AF_UNIX:
        return f"unix:{os.fsdecode(one.getsockname())}"
    host, port = one.getsockname()[:2]
    return f"[{host}]:{port}" if one.family == socket.AF_INET6 else f"{host}:{port}"


def exposed_address(sockets: Sequence[socket.socket]) -> str | None:
    """The address of the first that others than this machine can reach; None: there is none."""
    for one in sockets:
        if one.family == socket.AF_UNIX:
            continue
        if is_loopback(one.getsockname()[0].partition("%")[0]):
            continue
        return address(one)
    return None
