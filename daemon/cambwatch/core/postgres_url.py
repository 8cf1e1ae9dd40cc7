"""Parses PostgreSQL URLs as libpq does, as hosters show them, and reports all mistakes at once."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import unquote

from cambwatch.core.postgres_parameters import LONGEST_CONNECT_S, PARAMETERS, ParameterUse, SslMode
from cambwatch.core.redaction import Secret

DEFAULT_PORT = 5432
MIN_TLS_VERSION = "TLSv1.2"
ESCAPES = " (in a user, password or database write %40 for @, %3A for :, %2F for /, %3F for ?, %23 for #, %25 for %)"
FORM = "postgresql://user:password@host/database"

_SCHEME = re.compile(r"postgres(?:ql)?://", re.IGNORECASE)
_HOST_NAME = re.compile(r"[^\s/@:\[\],?#\\]{1,253}")
_HOST_AND_PORT = re.compile(r"(?P<host>\[[^\[\]]*\]|[^:\[\]]*)(?::(?P<port>[^:]*))?")
_WORD = re.compile(r"[A-Za-z0-9_.-]{1,32}")
_SETTING = re.compile(r"(?P<name>[A-Za-z_][\w.-]*)=(?P<value>.*)", re.DOTALL)
_SECRETS = ("password", "sslpassword")
_BY_CAMBWATCH = frozenset({"application_name", "client_encoding"})


class PostgresHost(NamedTuple):
    """A host name, an address, or the folder of a Unix socket, which starts with a slash."""

    name: str
    port: int

    def __str__(self) -> str:
        return f"[{self.name}]:{self.port}" if ":" in self.name else f"{self.name}:{self.port}"


@dataclass(frozen=True, slots=True)
class PostgresTls:
    """Whether to use TLS, and with which files; all paths are absolute, *root* may be `system`."""

    mode: SslMode
    root: str | None = None
    certificate: str | None = None
    key: str | None = None
    key_password: Secret | None = None
    crl: str | None = None
    min_version: str = MIN_TLS_VERSION
    max_version: str | None = None
    direct: bool = False


@dataclass(frozen=True, slots=True)
class PostgresUrl:
    """
    Where a PostgreSQL server is and how to connect to it.

    *user*, *password* and *passfile* are None if libpq's defaults apply. *settings* are set after
    connecting. *startup_options* goes into the startup packet, where a pooler looks for it. *warnings* are
    warnings for the operator.
    """

    hosts: tuple[PostgresHost, ...]
    database: str
    user: str | None
    password: Secret | None
    passfile: str | None
    tls: PostgresTls
    connect_timeout_s: float | None
    target_session_attrs: str
    settings: Mapping[str, str]
    startup_options: str
    warnings: tuple[str, ...]


def is_postgres(text: str) -> bool:
    """Whether *text* has the scheme of a PostgreSQL URL, perhaps with a driver."""
    return text.partition(":")[0].partition("+")[0].lower() in {"postgresql", "postgres"}


def parse_postgres_url(text: str, environ: Mapping[str, str]) -> PostgresUrl:
    """
    The parsed *text*, with libpq's environment variables as defaults.

    Raises ValueError with one sentence per mistake, none of which shows a password.
    """
    mistakes: list[str] = []
    split = _split(text)
    given = _parameters(split.query, mistakes)
    for name, parameter in PARAMETERS.items():
        said = name in given or (name == "sslmode" and "ssl" in given)
        if parameter.variable and environ.get(parameter.variable) and not said:
            _add(given, name, environ[parameter.variable], mistakes, by=parameter.variable)
    hosts = _hosts(split, given, environ.get("PGPORT", ""), mistakes)
    database = given.get("dbname") or split.database
    if not database:
        mistakes.append(f"has no database: write {FORM}")
    settings, startup_options = _options(given.get("options", ""), mistakes)
    if schemas := given.get("schema") or given.get("currentSchema"):
        settings["search_path"] = ", ".join(_quoted(schema) for schema in schemas.split(","))
    tls = _tls(given, mistakes)
    if mistakes:
        raise ValueError("; ".join(dict.fromkeys(mistakes)))
    password = given.get("password") or split.password
    seconds = float(given.get("connect_timeout", 0))
    return PostgresUrl(
        hosts=hosts,
        database=database,
        user=given.get("user") or split.user or None,
        password=Secret(password) if password else None,
        passfile=given.get("passfile"),
        tls=tls,
        connect_timeout_s=min(seconds, LONGEST_CONNECT_S) if seconds > 0 else None,
        # With several hosts, some are usually standbys, which accept no writes.
        target_session_attrs=given.get("target_session_attrs") or ("any" if len(hosts) == 1 else "read-write"),
        settings=settings,
        startup_options=startup_options,
        warnings=tuple(_warnings(given, tls)),
    )


def secrets_in(text: str) -> list[str]:
    """Every password in the URL *text*, encoded and decoded, also with its user; *text* may be invalid."""
    userinfo = text.partition("://")[2].partition("?")[0].rpartition("@")[0]
    password = userinfo.partition(":")[2]
    found = [userinfo, password] if password else []
    for part in text.partition("?")[2].split("&"):
        name, _, value = part.partition("=")
        if unquote(name) in _SECRETS:
            found.append(value)
    return list(dict.fromkeys(form for value in found for form in (value, unquote(value)) if form))


class _Split(NamedTuple):
    user: str
    password: str
    hosts: str
    database: str
    query: str


def _split(text: str) -> _Split:
    """The parts of *text*; raises ValueError if it cannot be split."""
    scheme = _SCHEME.match(text)
    if scheme is None:
        raise ValueError(f"must begin with postgresql://, as in {FORM}")
    address, _, query = text[scheme.end() :].partition("?")
    # People paste `options` with spaces.
    if any(character.isspace() or not character.isprintable() for character in address + query.replace(" ", "")):
        raise ValueError("a URL must not hold spaces, line breaks or control characters")
    if "#" in address + query:
        raise ValueError(f"must not hold #{ESCAPES}")
    authority, _, path = address.partition("/")
    if "@" in path + query:  # an unencoded / or ? in the password; the rest of it may follow
        raise ValueError(f"must not have @ after the host{ESCAPES}")
    userinfo, _, hosts = authority.rpartition("@")
    user, _, password = userinfo.partition(":")
    try:
        return _Split(_decoded(user), _decoded(password), hosts, _decoded(path), query)
    except UnicodeDecodeError:
        raise ValueError(f"has a % that does not encode UTF-8{ESCAPES}") from None


def _decoded(text: str) -> str:
    return unquote(text, errors="strict")


def _parameters(query: str, mistakes: list[str]) -> dict[str, str]:
    """The parameters in *query* by name, without empty ones."""
    given: dict[str, str] = {}
    seen = set()
    for part in filter(None, query.split("&")):
        written, equals, encoded = part.partition("=")
        try:
            name, value = _decoded(written), _decoded(encoded)
        except UnicodeDecodeError:
            mistakes.append(f"has a % that does not encode UTF-8{ESCAPES}")
            continue
        if name not in PARAMETERS:
            mistakes.append(_unknown(name))
        elif not equals:
            mistakes.append(f"{name} has no value")
        elif name in seen:
            mistakes.append(f"{name} is given twice")
        elif value:
            _add(given, name, value, mistakes, by=name)
        seen.add(name)
    return given


def _add(given: dict[str, str], name: str, value: str, mistakes: list[str], *, by: str) -> None:
    parameter = PARAMETERS[name]
    if parameter.use is ParameterUse.REFUSED:
        mistakes.append(f"{by}: {parameter.reason}")
        return
    try:
        given[name] = parameter.read(value)
    except ValueError as error:
        shown = f"={value}" if _WORD.fullmatch(value) and name not in _SECRETS else ""
        mistakes.append(f"{by}{shown}: {error}")


def _unknown(name: str) -> str:
    if not _WORD.fullmatch(name):  # may be a part of a password
        return f"has an unknown parameter{ESCAPES}"
    if close := get_close_matches(name.lower(), {known.lower(): known for known in PARAMETERS}, n=1):
        original = next(known for known in PARAMETERS if known.lower() == close[0])
        return f"{name} is not a known parameter (did you mean {original}?)"
    return f"{name} is not a known parameter: remove it; write a server setting as options=-c%20name%3Dvalue"


def _hosts(split: _Split, given: Mapping[str, str], default: str, mistakes: list[str]) -> tuple[PostgresHost, ...]:
    names, ports = [], []
    for item in split.hosts.split(","):
        found = _HOST_AND_PORT.fullmatch(item)
        if found is None:
            mistakes.append(f"an IPv6 address needs brackets, as in [::1]:{DEFAULT_PORT}")
            return ()
        names.append(found["host"])
        ports.append(found["port"] or "")
    if "host" in given:
        names = given["host"].split(",")
        ports = ports if len(ports) == len(names) else [""]
    if "port" in given:
        ports = given["port"].split(",")
    ports = ports * len(names) if len(ports) == 1 else ports
    if len(ports) != len(names):
        mistakes.append(f"port has {len(ports)} ports for {len(names)} hosts")
        return ()
    if not any(names):
        mistakes.append(f"has no host: write {FORM}")
        return ()
    return tuple(
        PostgresHost(_host(name, mistakes), _port(port or default, mistakes))
        for name, port in zip(names, ports, strict=True)
    )


def _host(written: str, mistakes: list[str]) -> str:
    name = unquote(written)
    if not name:
        mistakes.append("has an empty host: check the commas between the hosts")
    elif name.startswith("["):
        name = name[1:-1]
        if not _is_address(name):
            mistakes.append("has brackets without an IPv6 address")
    elif not name.startswith("/") and not _is_address(name) and not _HOST_NAME.fullmatch(name):
        mistakes.append(f"has an invalid host name{ESCAPES}")
    return name


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _port(written: str, mistakes: list[str]) -> int:
    if not written:
        return DEFAULT_PORT
    if not re.fullmatch(r"[0-9]{1,5}", written) or not 0 < int(written) < 65536:
        # Not shown: with an unencoded / or ? in the password, this may be a part of it.
        mistakes.append(f"the port must be a number from 1 to 65535{ESCAPES}")
        return DEFAULT_PORT
    return int(written)


def _options(text: str, mistakes: list[str]) -> tuple[dict[str, str], str]:
    """The settings in *text*, in the syntax of a server's command line, and the words for a pooler."""
    settings: dict[str, str] = {}
    startup_options = []
    words = iter(re.sub(r"\\(.)", r"\1", word) for word in re.findall(r"(?:\\.|[^\s\\])+", text))
    for word in words:
        setting = None
        if word.startswith("-c"):
            setting = _SETTING.fullmatch(word[2:] or next(words, ""))
        elif word.startswith("--"):
            setting = _SETTING.fullmatch(word[2:])
        elif _SETTING.fullmatch(word):
            startup_options.append(word)  # such as Neon's endpoint=... and Supabase's reference=...
            continue
        if setting is None:
            mistakes.append("options: must be of the form -c%20name%3Dvalue")
        elif setting["name"] not in _BY_CAMBWATCH:
            settings[setting["name"].replace("-", "_")] = setting["value"]
    return settings, " ".join(startup_options)


def _quoted(schema: str) -> str:
    name = schema.strip()
    return name if name.startswith('"') else f'"{name}"'


def _tls(given: Mapping[str, str], mistakes: list[str]) -> PostgresTls:
    if "ssl" in given and "sslmode" in given:
        mistakes.append("give ssl or sslmode, not both")
    root = given.get("sslrootcert")
    named = given.get("sslmode") or given.get("ssl")
    if named is not None:
        mode = SslMode(named)
    elif root == "system":
        mode = SslMode.VERIFY_FULL
    else:  # as in libpq, except that a TLS file implies TLS
        mode = (
            SslMode.REQUIRE if any(name in given for name in ("sslrootcert", "sslcert", "sslcrl")) else SslMode.PREFER
        )
    if root == "system" and mode is not SslMode.VERIFY_FULL:
        mistakes.append(f"sslrootcert=system needs sslmode=verify-full, not {mode}")
    direct = given.get("sslnegotiation") == "direct"
    if direct and not mode.requires_tls and not mistakes:
        mistakes.append(f"sslnegotiation=direct needs sslmode=require or verify-full, not {mode}")
    min_version, max_version = (
        given.get("ssl_min_protocol_version", MIN_TLS_VERSION),
        given.get("ssl_max_protocol_version"),
    )
    if max_version and max_version < min_version:
        mistakes.append(f"ssl_max_protocol_version={max_version} is older than ssl_min_protocol_version={min_version}")
    return PostgresTls(
        mode=mode,
        root=root,
        certificate=given.get("sslcert"),
        key=given.get("sslkey"),
        key_password=Secret(given["sslpassword"]) if "sslpassword" in given else None,
        crl=given.get("sslcrl"),
        min_version=min_version,
        max_version=max_version,
        direct=direct,
    )


def _warnings(given: Mapping[str, str], tls: PostgresTls) -> Iterator[str]:
    if given.get("channel_binding") == "require":
        verified = tls.mode is SslMode.VERIFY_FULL
        yield (
            "channel_binding=require has no effect, because asyncpg does not support it: "
            + ("the certificate is verified" if verified else "sslmode=verify-full&sslrootcert=system protects as well")
        )
