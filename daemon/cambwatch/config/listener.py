"""Where the running daemon listens, for a client that need not be able to run it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cambwatch.config.addresses import TcpListen, UnixListen
from cambwatch.config.errors import Finding
from cambwatch.config.files import PLACES, absent, find, read_bytes
from cambwatch.config.load import examine
from cambwatch.config.model import HttpSection
from cambwatch.core.secret import Secret

_EVERY_INTERFACE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # where to reach such a listener from this machine


@dataclass(frozen=True, slots=True)
class DaemonAddress:
    """*url* is the root of the intake; with *socket*, the path of a Unix socket, its host means nothing."""

    url: str
    token: Secret | None = None
    socket: str | None = None


def daemon_api(path: str | None, environ: Mapping[str, str], *, places: Sequence[Path] = PLACES) -> DaemonAddress:
    """
    Where the daemon with the configuration of find() listens, the default address where there is no file.

    Only `http` has to be right: whoever asks need not have the keys and URLs of the
    daemon. Raises ConfigError.
    """
    unspecified = not path and not environ.get("CAMBWATCH_CONFIG")
    if unspecified and all(absent(place) for place in places):
        return _address(HttpSection())
    found = find(path, environ, places=places)
    examined = examine(read_bytes(found), file=str(found), folder=found.absolute().parent, environ=environ)
    examined.raise_for(finding for finding in examined.mistakes if finding.path[:1] in {(), ("http",)})
    http = examined.parts.http or HttpSection()
    if isinstance(http.listen, TcpListen) and http.listen.port == 0:
        examined.raise_for([Finding(("http", "listen"), "port 0 is any that is free: nobody can know where to ask")])
    return _address(http)


def _address(http: HttpSection) -> DaemonAddress:
    match http.listen:
        case UnixListen(path):
            return DaemonAddress("http://localhost", http.bearer, path)
        case TcpListen(host, port):
            return DaemonAddress(f"http://{TcpListen(_EVERY_INTERFACE.get(host, host), port)}", http.bearer)
