"""Translates PostgreSQL errors into the store's own, with a hint for the operator."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnectionError

from cambwatch.adapters.store.database import StoreMisconfiguredError, StoreUnavailableError
from cambwatch.adapters.store.postgres_tls import explain_refused_certificate

CONFLICT_STATES = {"40001", "40P01", "23505"}  # serialization_failure, deadlock_detected, unique_violation
_TRANSIENT_STATES = {"55P03", "57014"}  # lock_not_available, query_canceled: the next unit of work may succeed
_BUG_STATES = ("22", "23", "42")  # data_exception, integrity_constraint_violation, access_rule_violation
_PERMISSION = "42501"
# duplicate_prepared_statement, invalid_sql_statement_name: another client uses the same session.
_SHARED_SESSION_STATES = {"42P05", "26000"}
# While connecting: an unknown setting, or an invalid value for one.
_BAD_SETTING = ("22", "42", "55P02")

CHECK_SERVER_HINT = "check that PostgreSQL runs and that store.url reaches it; cambwatch retries by itself"
READ_ONLY_HINT = (
    "PostgreSQL is read-only, as during a failover: point store.url to the primary; cambwatch retries by itself"
)
_HINTS = {
    "28": "check the user and password in store.url (or sslcert and sslkey, if the server requires a certificate), and "
    "PostgreSQL's pg_hba.conf",
    "3D": "create the database that store.url names (createdb), or name another",
    "3F": "create the schema that store.url names, or name another",
    "42": "grant this user the right to create and change tables in the database",
    "53": "PostgreSQL is out of disk space or connections: check its disk and max_connections; cambwatch retries",
    "25006": READ_ONLY_HINT,
}


class TransientStoreError(StoreUnavailableError):
    """One unit of work was in the way of somebody else's; the server is well."""


def shared_sessions_error() -> StoreMisconfiguredError:
    """The error for a pooler in transaction or statement mode."""
    return StoreMisconfiguredError(
        "a pooler between cambwatch and PostgreSQL gives the same session to several connections",
        hint="LISTEN and prepared statements need a session of their own: connect to PostgreSQL directly (hosters show "
        "this as the direct connection), or to pgbouncer with pool_mode = session and server_reset_query = DISCARD ALL",
    )


@contextmanager
def translate_errors() -> Iterator[None]:
    """Translate server errors; a violated constraint or a bug is raised unchanged."""
    try:
        yield
    except TimeoutError as error:
        raise StoreUnavailableError("the database does not answer", hint=CHECK_SERVER_HINT) from error
    except NoConnectionError as error:
        raise TransientStoreError("no connection to the database is free", hint=CHECK_SERVER_HINT) from error
    except DBAPIError as error:
        if isinstance(error.orig, BaseException) and isinstance(error.orig.__cause__, ValueError):
            raise  # the driver rejects the value, such as a number out of range
        store_error = store_error_of(sqlstate_of(error), str(error.orig).partition(": ")[2] or str(error.orig))
        if store_error is None:
            raise
        raise store_error from error
    except asyncpg.PostgresError as error:  # while SQLAlchemy sets up a connection
        store_error = store_error_of(error.sqlstate or "", str(error))
        if store_error is None:
            raise
        raise store_error from error
    except (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:  # the last: just closed
        raise StoreUnavailableError(str(error) or type(error).__name__, hint=CHECK_SERVER_HINT) from error


def store_error_of(state: str, reason: str) -> StoreUnavailableError | None:
    """The error for this SQLSTATE; None if it is not trouble with the server."""
    if state in CONFLICT_STATES:
        return None  # the caller retries
    if state in _SHARED_SESSION_STATES:
        return shared_sessions_error()
    if state in _TRANSIENT_STATES:
        return TransientStoreError(reason, hint="another session holds a lock in the database; cambwatch retries")
    if state.startswith(_BUG_STATES) and state != _PERMISSION:
        return None
    return StoreUnavailableError(reason, hint=_HINTS.get(state, _HINTS.get(state[:2], CHECK_SERVER_HINT)))


def sqlstate_of(error: DBAPIError) -> str:
    """The SQLSTATE of *error*: https://www.postgresql.org/docs/current/errcodes-appendix.html; empty if it has none."""
    return getattr(error.orig, "sqlstate", None) or ""


def as_transient_conflict(error: BaseException) -> BaseException:
    """*error*, as a TransientStoreError if it is a serialization failure or a deadlock."""
    if isinstance(error, DBAPIError) and sqlstate_of(error) in CONFLICT_STATES - {"23505"}:
        return TransientStoreError(str(error.orig), hint="cambwatch retries")
    return error


def connection_error(error: Exception) -> StoreUnavailableError:
    """The error for a connection attempt that failed with *error*."""
    match error:
        case asyncpg.PostgresError():
            return _refused(error.sqlstate or "", str(error))
        case asyncpg.ClientConfigurationError():  # asyncpg's own defaults, such as an environment variable
            return StoreMisconfiguredError(str(error), hint="correct it in store.url or in the environment")
        case asyncpg.TargetServerAttributeNotMatched():
            return StoreUnavailableError("the server is read-only", hint=READ_ONLY_HINT)
        case ssl.SSLCertVerificationError():
            reason, hint = explain_refused_certificate(error)
            return StoreUnavailableError(reason, hint=hint)
        case ssl.SSLError():
            return StoreUnavailableError(
                f"TLS fails: {error.reason or error}",
                hint="check sslcert and sslkey in store.url, and the TLS settings of PostgreSQL or its pooler",
            )
        case ConnectionError() if "rejected SSL upgrade" in str(error):
            return StoreUnavailableError(
                "the server does not support TLS",
                hint="set ssl = on in PostgreSQL (client_tls_sslmode in pgbouncer), or use sslmode=disable in a "
                "network that you trust",
            )
        case socket.gaierror():
            return StoreUnavailableError(
                f"the host name cannot be resolved: {error.strerror}", hint=f"check the host name; {CHECK_SERVER_HINT}"
            )
        case TimeoutError():
            return StoreUnavailableError("the database does not answer", hint=CHECK_SERVER_HINT)
    return StoreUnavailableError(str(error) or type(error).__name__, hint=CHECK_SERVER_HINT)


def _refused(state: str, reason: str) -> StoreUnavailableError:
    """The error for a server or pooler that refuses a connection."""
    if "statement pooling" in reason:
        return shared_sessions_error()
    if "unsupported startup parameter" in reason:
        hint = "leave options out of store.url, or name the parameter in pgbouncer's ignore_startup_parameters"
        return StoreMisconfiguredError(f"pgbouncer refuses a setting: {reason}", hint=hint)
    if state.startswith(_BAD_SETTING) and state not in {_PERMISSION, *_SHARED_SESSION_STATES}:
        return StoreMisconfiguredError(reason, hint="check options in store.url")
    return store_error_of(state, reason) or StoreUnavailableError(reason, hint=CHECK_SERVER_HINT)
