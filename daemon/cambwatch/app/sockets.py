"""The sockets of the intake: systemd's, or our own; open from the start of the process to its end."""

import asyncio
import errno
import os
import socket
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from aiohttp.web import Application

from cambwatch.adapters import systemd
from cambwatch.config import Config, UnixListen
from cambwatch.web import server

SOCKET_MODE = 0o660
BACKLOG = 4096  # connections that nobody has accepted yet; the kernel may allow fewer
# Errors of bind() and socket() for an address that a name resolves to and the machine does not have.
ADDRESS_NOT_AVAILABLE = frozenset({
    errno.EADDRNOTAVAIL,  # no interface has it, such as ::1 if sysctl disables IPv6
    errno.EAFNOSUPPORT,  # the kernel has no IPv6
    errno.EPROTONOSUPPORT,
    errno.ENODEV,  # the interface of a link-local address is gone
    errno.EINVAL,  # a link-local address without an interface
})  # fmt: skip
DRAIN_S = 0.2  # for who was accepted and not heard yet; who comes later waits in the socket

log = structlog.get_logger()


@contextmanager
def open_sockets(config: Config) -> Iterator[list[socket.socket]]:
    """
    What callers connect to, for the length of the block: while nobody serves, they wait.

    systemd's sockets take the place of http.listen, and its rules hold for them. Raises
    ExposedError where those rules are broken, OSError where an address cannot be had.
    """
    sockets = _systemd_sockets(config) or _configured_sockets(config)
    try:
        yield sockets
    finally:
        for one in sockets:
            one.close()


@asynccontextmanager
async def serving(intake: Application, sockets: Sequence[socket.socket], *, connections: int) -> AsyncIterator[None]:
    """
    Serve *intake* at *sockets* for the length of the block; they stay open behind it.

    It holds at most so many *connections*; no more wait in each socket, so that a crowd
    that connects at once does not take more descriptors than that before they are counted.
    """
    loop = asyncio.get_running_loop()
    # A server closes what it is given. Also for Unix sockets not create_unix_server(): from Python 3.13 on that takes
    # the file away in the end, which is where callers are to wait.
    backlog = min(BACKLOG, connections)
    server_factories = [partial(loop.create_server, sock=one.dup(), backlog=backlog) for one in sockets]
    limits = replace(server.DEFAULT_LIMITS, connections=connections)
    async with server.serve(intake, *server_factories, limits=limits, drain_s=DRAIN_S):
        yield


def addresses(sockets: Sequence[socket.socket]) -> str:
    """Where callers find us: URLs, and for Unix sockets `unix:` and the path."""
    return ", ".join(
        systemd.address(one) if one.family == socket.AF_UNIX else f"http://{systemd.address(one)}" for one in sockets
    )


def only_unix(sockets: Sequence[socket.socket]) -> bool:
    """Whether no caller comes over a network, its own host's included."""
    return all(one.family == socket.AF_UNIX for one in sockets)


def _systemd_sockets(config: Config) -> list[socket.socket]:
    sockets = systemd.pop_sockets(os.environ, pid=os.getpid())
    outside = systemd.exposed_address(sockets)
    if outside is not None and config.http.bearer is None:
        raise systemd.ExposedError(
            f"the socket unit listens at {outside}, which other machines can reach: "
            "set http.token, or give it a loopback address (ListenStream=)"
        )
    found = [systemd.address(one) for one in sockets]
    if sockets and str(config.http.listen) not in found:
        log.warning("config.warning", hint=f"the socket unit listens at {', '.join(found)}, where no command "
                    f"looks for us: http.listen says {config.http.listen}")  # fmt: skip
    return sockets


def _configured_sockets(config: Config) -> list[socket.socket]:
    listen = config.http.listen
    if isinstance(listen, UnixListen):
        return [_bind_unix(Path(listen.path))]
    found = socket.getaddrinfo(listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return listen_at([(family, address) for family, _, _, _, address in found], listen.port)


def listen_at(found: Iterable[tuple[int, tuple[Any, ...]]], port: int) -> list[socket.socket]:
    """
    A listening socket for each of *found*, the families and addresses that a name resolves to, without duplicates.

    All have the same *port*; 0 means any free port. Skips and logs addresses that the machine
    does not have (ADDRESS_NOT_AVAILABLE). Raises OSError if none is left, or if an address of the machine
    cannot be used, for example because its port is taken.
    """
    sockets: list[socket.socket] = []
    missing: dict[str, str] = {}
    with ExitStack() as opened:
        for family, address in dict.fromkeys(found):
            try:
                one = opened.enter_context(_bind(family, (address[0], port, *address[2:])))
            except OSError as error:
                if error.errno not in ADDRESS_NOT_AVAILABLE:
                    raise
                missing[address[0]] = error.strerror or str(error)
                continue
            sockets.append(one)
            port = one.getsockname()[1]
        opened.pop_all()
    if not sockets:
        why = ", ".join(f"{host}: {reason}" for host, reason in missing.items())
        raise OSError(errno.EADDRNOTAVAIL, f"this machine has none of its addresses ({why}); change http.listen")
    for host, reason in missing.items():
        log.warning("config.warning", hint=f"not listening at {host}, which http.listen resolves to: {reason}")
    return sockets


def _bind(family: int, address: tuple[Any, ...]) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # the other family has a socket of its own
        made.bind(address)
        made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    return made


def _bind_unix(path: Path) -> socket.socket:
    """A socket at *path* with SOCKET_MODE, which at no moment had a wider one."""
    if path.is_socket():
        path.unlink()  # ours from before: the lock on the database says that its process is gone
    bound = socket.socket(socket.AF_UNIX)
    try:
        os.fchmod(bound.fileno(), SOCKET_MODE)  # Linux makes the file of bind() with it, less the umask
        bound.bind(os.fspath(path))
        path.chmod(SOCKET_MODE)
        bound.listen(BACKLOG)
    except OSError:
        bound.close()
        raise
    return bound
