"""
What cambwatch does with each parameter of a PostgreSQL URL.

PARAMETERS has libpq's parameters, and those that hosters and other drivers add to the URLs
that people paste. Any other parameter is an error.
https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

LONGEST_CONNECT_S = 30


class SslMode(StrEnum):
    """Whether to use TLS, and how to verify the server's certificate."""

    DISABLE = "disable"
    ALLOW = "allow"
    PREFER = "prefer"
    REQUIRE = "require"
    NO_VERIFY = "no-verify"
    """From node-postgres: requires TLS and verifies nothing, even with a CA."""
    VERIFY_CA = "verify-ca"
    VERIFY_FULL = "verify-full"

    @property
    def requires_tls(self) -> bool:
        """Whether cambwatch refuses to connect without TLS."""
        return self not in {SslMode.DISABLE, SslMode.ALLOW, SslMode.PREFER}


class ParameterUse(StrEnum):
    """What cambwatch does with a parameter."""

    USED = "used"
    IGNORED = "ignored"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class UrlParameter:
    """
    One parameter.

    *read* raises ValueError with the allowed values. *reason* says why the parameter is ignored
    or refused. *variable* is the environment variable with its default.
    """

    use: ParameterUse
    reason: str = ""
    read: Callable[[str], str] = str
    variable: str = ""


def _one_of(*words: str) -> Callable[[str], str]:
    def read(value: str) -> str:
        if value not in words:
            raise ValueError(f"must be {' or '.join(', '.join(words).rsplit(', ', 1))}")
        return value

    return read


def _read_connect_timeout(value: str) -> str:
    if not re.fullmatch(r"-?[0-9]{1,9}", value):
        raise ValueError(f"must be a whole number of seconds, at most {LONGEST_CONNECT_S}")
    return value


def _read_path(value: str) -> str:
    if not value.startswith("/") or "\0" in value:
        raise ValueError("must be the absolute path of a file")
    return value


def _read_root(value: str) -> str:
    if value != "system" and not value.startswith("/"):
        raise ValueError("must be the absolute path of a file with the CA, or system for the CAs of this machine")
    return value


def _read_ssl(value: str) -> str:
    """A boolean, or a mode as SQLAlchemy writes it for asyncpg."""
    switch = {"true": SslMode.REQUIRE.value, "false": SslMode.DISABLE.value}
    return switch.get(value) or _one_of(*map(str, SslMode), "true", "false")(value)


def _read_role(value: str) -> str:
    if value in {"read-only", "standby", "prefer-standby"}:
        raise ValueError("cambwatch writes to the database: use read-write")
    return _one_of("any", "read-write", "primary")(value)


def _read_gssencmode(value: str) -> str:
    if value == "require":
        raise ValueError("cambwatch does not support GSSAPI encryption: use disable, and sslmode=verify-full")
    return _one_of("disable", "prefer")(value)


_TLS_VERSIONS = _one_of("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
_NAMES_OWN = "cambwatch names its sessions itself: nodes find each other's sessions by that name"
_OWN_LIMITS = "cambwatch has its own timeouts and heartbeats"
_NO_GSS = "cambwatch does not support GSSAPI"
_POOL = "cambwatch has its own connection pool"
_ANOTHER_DRIVER = "a setting of another driver"
_HOSTER = "a setting of the hoster"


def _used(read: Callable[[str], str] = str, variable: str = "") -> UrlParameter:
    return UrlParameter(ParameterUse.USED, "", read, variable)


def _ignored(reason: str, read: Callable[[str], str] = str) -> UrlParameter:
    return UrlParameter(ParameterUse.IGNORED, reason, read)


def _refused(reason: str) -> UrlParameter:
    return UrlParameter(ParameterUse.REFUSED, reason)


PARAMETERS: Mapping[str, UrlParameter] = MappingProxyType(
    {
        # Where the server is, and as which user to connect.
        "host": _used(),
        "port": _used(),
        "dbname": _used(),
        "user": _used(),
        "password": _used(),
        "passfile": _used(_read_path),
        "connect_timeout": _used(_read_connect_timeout),
        "target_session_attrs": _used(_read_role, "PGTARGETSESSIONATTRS"),
        "options": _used(),
        "schema": _used(),  # Prisma's
        "currentSchema": _used(),  # JDBC's
        "hostaddr": _refused("cambwatch resolves names itself: write the address as the host"),
        "service": _refused("cambwatch does not read service files: write what the file says into the URL"),
        "servicefile": _refused("cambwatch does not read service files: write what the file says into the URL"),
        "replication": _refused("cambwatch does not replicate: leave it out"),
        "load_balance_hosts": _ignored("cambwatch stays with the host that answered last"),
        "application_name": _ignored(_NAMES_OWN),
        "fallback_application_name": _ignored(_NAMES_OWN),
        "client_encoding": _ignored("cambwatch always speaks UTF-8"),
        # TLS.
        "sslmode": _used(_one_of(*SslMode), "PGSSLMODE"),
        "ssl": _used(_read_ssl),
        "sslrootcert": _used(_read_root, "PGSSLROOTCERT"),
        "sslcert": _used(_read_path, "PGSSLCERT"),
        "sslkey": _used(_read_path, "PGSSLKEY"),
        "sslpassword": _used(),
        "sslcrl": _used(_read_path, "PGSSLCRL"),
        "ssl_min_protocol_version": _used(_TLS_VERSIONS, "PGSSLMINPROTOCOLVERSION"),
        "ssl_max_protocol_version": _used(_TLS_VERSIONS, "PGSSLMAXPROTOCOLVERSION"),
        "sslnegotiation": _used(_one_of("postgres", "direct"), "PGSSLNEGOTIATION"),
        "channel_binding": _ignored(
            "asyncpg does not support channel binding", _one_of("disable", "prefer", "require")
        ),
        "sslcompression": _ignored("current TLS versions do not compress"),
        "sslsni": _ignored("cambwatch always sends the name of the host"),
        "sslcertmode": _ignored("cambwatch always sends sslcert if it is set"),
        "sslcrldir": _refused("cambwatch reads a single file: use sslcrl"),
        "require_auth": _refused("cambwatch cannot restrict the authentication: leave it out, use sslmode=verify-full"),
        "requirepeer": _refused("cambwatch cannot verify who serves a Unix socket: leave it out"),
        "gssencmode": _ignored(_NO_GSS, _read_gssencmode),
        "krbsrvname": _ignored(_NO_GSS),
        "gsslib": _ignored(_NO_GSS),
        "gssdelegation": _ignored(_NO_GSS),
        # Detecting a dead connection.
        "keepalives": _ignored(_OWN_LIMITS),
        "keepalives_idle": _ignored(_OWN_LIMITS),
        "keepalives_interval": _ignored(_OWN_LIMITS),
        "keepalives_count": _ignored(_OWN_LIMITS),
        "tcp_user_timeout": _ignored(_OWN_LIMITS),
        "socket_timeout": _ignored(_OWN_LIMITS),  # Prisma's
        # Of other drivers, and of hosters.
        "pgbouncer": _ignored("cambwatch detects a pooler itself"),  # Prisma's
        "connection_limit": _ignored(_POOL),  # Prisma's
        "pool_timeout": _ignored(_POOL),  # Prisma's
        "pool": _ignored(_POOL),  # of Rails
        "statement_cache_size": _ignored(_ANOTHER_DRIVER),
        "prepared_statements": _ignored(_ANOTHER_DRIVER),  # of Rails
        "prepareThreshold": _ignored(_ANOTHER_DRIVER),  # JDBC's
        "uselibpqcompat": _ignored(_ANOTHER_DRIVER),  # of node-postgres
        "supa": _ignored(_HOSTER),  # of Supabase in Vercel
        "workaround": _ignored(_HOSTER),  # of Supabase in Vercel
    }
)
