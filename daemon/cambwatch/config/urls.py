"""Where we listen, where we post, where Camb and the database are."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import SplitResult, unquote, urlsplit

from cambwatch.adapters.store import postgres_tls
from cambwatch.config.readers import read_text, shown
from cambwatch.core.addresses import is_loopback, private_host
from cambwatch.core.postgres_parameters import SslMode
from cambwatch.core.postgres_url import is_postgres, parse_postgres_url

_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?")
_ESCAPES = " (in a password write %2F for /, %3F for ?, %23 for #, %25 for %)"
_LONGEST_SOCKET_PATH = 107  # bytes, sun_path of Linux without its final zero


@dataclass(frozen=True, slots=True)
class TcpListen:
    """An address and a port; port 0 is any that is free."""

    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixListen:
    """A socket in the file system."""

    path: str

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return True

    def __str__(self) -> str:
        return f"unix:{self.path}"


Listen = TcpListen | UnixListen
DEFAULT_LISTEN: TcpListen = TcpListen("127.0.0.1", 8787)


def read_listen(value: object) -> Listen:
    """`host:port`, `[address]:port` or `unix:/path`."""
    if isinstance(value, TcpListen | UnixListen):
        return value
    text = read_text(value)
    if text.startswith("unix:"):
        return _read_socket(text.removeprefix("unix:"))
    host, colon, port = text.rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise ValueError(f"{shown(value)} must be host:port, such as 127.0.0.1:8787, or unix:/path")
    if not host or host == "*":
        raise ValueError(
            f"has no address before the port: write 127.0.0.1:{port}, or 0.0.0.0:{port} for every interface"
        )
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f'an IPv6 address needs brackets: "[{host}]:{port}"')
    if _address(host) is None and (":" in host or not _is_host(host)):
        raise ValueError(f"{shown(value)} has no address or host name before the port")
    return TcpListen(host, int(port))


def _read_socket(path: str) -> UnixListen:
    if not path.startswith("/") or path.endswith("/") or "\0" in path:
        raise ValueError("must be unix: and the absolute path of a file, such as unix:/run/cambwatch/cambwatch.sock")
    if len(path.encode()) > _LONGEST_SOCKET_PATH:
        raise ValueError(f"the path of a Unix socket has at most {_LONGEST_SOCKET_PATH} bytes")
    return UnixListen(path)


def read_allowed_host(value: object) -> str:
    """A name or address as it stands in a Host header, without the port and in lower case; IPv6 in brackets."""
    text = read_text(value).lower()
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    match _address(bare):
        case IPv6Address() as address:
            return f"[{address}]"
        case IPv4Address() if bare == text:
            return text
    if not _is_host(text):
        raise ValueError(f"{shown(value)} must be a host name or an address alone: no http://, no port, no pattern")
    return text


def read_base_url(value: object) -> str:
    """The URL in front of Camb's paths, without the slash at its end."""
    text = read_text(value)
    parts = split_url(text)
    if parts.query:
        raise ValueError("must not have a query (?...): Camb's paths are put behind it")
    return text.rstrip("/")


def read_store_url(value: object, environ: Mapping[str, str]) -> str:
    """
    `sqlite:///relative`, `sqlite:////absolute`, or `postgresql://user:password@host/database`; never shows it.

    Also reads the TLS files that it names. *environ* has libpq's variables.
    """
    text = read_text(value)
    if is_postgres(text):
        _check_server(text, environ)
        return text
    path = text.removeprefix("sqlite:///")
    if path == text or not path.strip("/"):
        raise ValueError(
            "must be sqlite:///file, sqlite:////folder/file for an absolute path, "
            "or postgresql://user:password@host/database"
        )
    if ":memory:" in path:
        raise ValueError("a database in memory loses every task when the process ends: name a file")
    if "?" in path or "#" in path or "\0" in path:
        raise ValueError("takes no options: nothing of ?, # is allowed behind sqlite:///")
    return text


def _check_server(text: str, environ: Mapping[str, str]) -> None:
    if find_spec("asyncpg") is None or find_spec("greenlet") is None:
        raise ValueError("needs what comes with cambwatch[postgres]: pip install 'cambwatch[postgres]'")
    tls = parse_postgres_url(text, environ).tls
    if tls.mode is not SslMode.DISABLE:
        postgres_tls.context(tls)


def split_url(text: str) -> SplitResult:
    """The parts of an http or https URL with a host; never shows *text* in its ValueError."""
    parts = _split(text)
    if parts.scheme not in {"http", "https"}:
        raise ValueError("must be a URL that begins with https://")
    _check_host(parts)
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold a user or password: put them into a header (authorization)")
    if "#" in text:
        raise ValueError("must not have a fragment (#...): remove it, or write %23 for a # in the path")
    # Path and query are sent byte for byte, so they must be valid in HTTP.
    if not (parts.path + parts.query).isascii():
        raise ValueError("must be ASCII after the host: percent-encode the rest, such as %C3%A9 for é")
    return parts


def split_proxy(text: str) -> SplitResult:
    """The parts of `http://host:port` or `http://user:password@host:port`; never shows *text* in its ValueError."""
    parts = _split(text, hint=_ESCAPES)
    if parts.scheme != "http":
        raise ValueError("must be http://host:port: the proxy itself is spoken to in plain HTTP, receivers are not")
    # First, because a slash in a password ends what is before the path, and then the rest makes no sense.
    if parts.path.strip("/") or parts.query or parts.fragment or text.endswith(("?", "#")):
        raise ValueError(f"must end with the port, as in http://host:port{_ESCAPES}")
    _check_host(parts)
    if parts.port is None:
        raise ValueError("has no port: write http://host:port, many proxies listen at 3128 or 8080")
    if ":" in unquote(parts.username or ""):
        raise ValueError("the user of a proxy must not hold a colon (%3A): nothing could tell it from the password")
    return parts


def _split(text: str, *, hint: str = "") -> SplitResult:
    # urlsplit() drops line breaks and tabs without a word.
    if any(character.isspace() or not character.isprintable() for character in text):
        raise ValueError("a URL must not hold spaces or control characters: write %20 for a space")
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 - raises ValueError where it is none
    except ValueError:
        raise ValueError(f"this is not a URL: check the port and the brackets{hint}") from None
    return parts


def _check_host(parts: SplitResult) -> None:
    host = parts.hostname or ""
    if not host or parts.port == 0 or (_address(host) is None and not _is_host(host)):
        raise ValueError("this URL has no proper host")


def why_private(url: str) -> str | None:
    """What makes *url* need allow_private, as far as its text tells; None where nothing does."""
    parts = urlsplit(url)
    if private_host(_ascii(parts.hostname or "")) is not None:
        return "an address of this machine or of a private network"
    return "plain http" if parts.scheme != "https" else None


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _ascii(host: str) -> str:
    """*host* in ASCII (IDNA), as it is sent and resolved; empty if it has no such form."""
    try:
        return host if host.isascii() else host.encode("idna").decode()
    except UnicodeError:
        return ""


def _is_host(text: str) -> bool:
    ascii_name = _ascii(text)
    # A last part of digits is an odd way to write an IPv4 address (127.1, 2130706433), which HTTP clients refuse.
    last = ascii_name.rstrip(".").rpartition(".")[2]
    return len(ascii_name) <= 253 and _HOST.fullmatch(ascii_name) is not None and not last.isdigit()
