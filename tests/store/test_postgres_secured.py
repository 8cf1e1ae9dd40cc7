"""TLS to a PostgreSQL server: every mode works, and what does not verify says why."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme

from cambwatch.adapters.store.cluster_events import PostgresClusterEvents
from cambwatch.adapters.store.database import StoreMisconfiguredError, StoreUnavailableError
from cambwatch.adapters.store.postgres_connection import PostgresServer as Way
from cambwatch.adapters.store.postgres_migration import migrate
from postgres_server import PASSWORD
from tls_front import tls_front

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


async def setting(url: str, name: str) -> str:
    """What *name* is in a session of ours."""
    connection = await Way(url).connect("cambwatch")
    try:
        return str(await connection.fetchval(f"SHOW {name}"))
    finally:
        await connection.close()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """The CA of the server's certificates."""
    return trustme.CA()


@pytest.fixture(autouse=True)
def _no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """No CA of this machine's user is to leak in."""
    monkeypatch.setenv("HOME", "/nonexistent")


@asynccontextmanager
async def secured(server: str, authority: trustme.CA, *names: str, **how) -> AsyncIterator[str]:
    """The URL of *server* behind TLS, with a certificate for *names*."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate = authority.issue_cert(*names, not_before=LONG_AGO, not_after=how.get("until"))
    certificate.configure_cert(context)
    if ca := how.get("client_ca"):
        context.verify_mode = ssl.CERT_REQUIRED
        ca.configure_trust(context)
    if how.get("direct"):
        context.set_alpn_protocols(["postgresql"])
    parts = urlsplit(server)
    async with tls_front(parts.port or 0, context, direct=bool(how.get("direct"))) as port:
        yield f"postgresql://{parts.username}:{parts.password}@localhost:{port}{parts.path}"


@pytest.mark.parametrize(
    "query",
    [
        "", "?sslmode=prefer", "?sslmode=require", "?sslmode=no-verify", "?ssl=true",
        "?sslmode=require&channel_binding=require", "?sslmode=verify-ca&sslrootcert={ca}",
        "?sslmode=verify-full&sslrootcert={ca}", "?sslrootcert={ca}",
        "?sslmode=require&ssl_min_protocol_version=TLSv1.3",
    ],
)  # fmt: skip
async def test_a_server_with_tls_is_used_in_every_mode(
    postgres_server: str, authority: trustme.CA, tmp_path: Path, query: str
) -> None:
    """By the writer, and by what listens."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    async with secured(postgres_server, authority, "localhost") as url:
        given = url + query.format(ca=tmp_path / "ca.pem")
        await migrate(given)
        listening = asyncio.Event()
        cluster_events = PostgresClusterEvents(given, "a")
        cluster_events.disconnected = listening.set
        async with cluster_events, asyncio.timeout(20):
            await listening.wait()


async def test_tls_without_the_request_for_it_works(
    postgres_server: str, authority: trustme.CA, tmp_path: Path
) -> None:
    """sslnegotiation=direct."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    async with secured(postgres_server, authority, "localhost", direct=True) as url:
        given = f"{url}?sslmode=verify-full&sslrootcert={tmp_path}/ca.pem&sslnegotiation=direct"
        assert await setting(given, "jit") == "off"


@pytest.mark.parametrize(
    ("names", "until", "ca", "said"),
    [
        (["localhost"], None, "other", "issued by a CA that is not trusted here .*sslrootcert="),
        (["localhost"], None, "system", "issued by a CA that is not trusted here .*sslrootcert="),
        (["elsewhere.example"], None, "ca", "certificate is for another host .*sslmode=verify-ca"),
        (["localhost"], datetime(2021, 1, 1, tzinfo=UTC), "ca", "certificate has expired .*renew"),
    ],
)
async def test_a_certificate_that_does_not_verify_says_what_is_wrong(
    postgres_server: str, authority: trustme.CA, tmp_path: Path, names, until, ca: str, said: str
) -> None:
    """And which parameter helps; it is trouble that passes, not a mistake: certificates are renewed."""
    authority.cert_pem.write_to_path(tmp_path / "ca")
    trustme.CA().cert_pem.write_to_path(tmp_path / "other")
    root = "system" if ca == "system" else tmp_path / ca
    async with secured(postgres_server, authority, *names, until=until) as url:
        with pytest.raises(StoreUnavailableError, match=said) as caught:
            await migrate(f"{url}?sslmode=verify-full&sslrootcert={root}")
    assert not isinstance(caught.value, StoreMisconfiguredError)
    assert PASSWORD not in str(caught.value)


async def test_a_client_shows_its_certificate(postgres_server: str, authority: trustme.CA, tmp_path: Path) -> None:
    """To a server that asks for one; without it the reason is told."""
    clients = trustme.CA()
    clients.issue_cert("ada").private_key_and_cert_chain_pem.write_to_path(tmp_path / "client.pem")
    async with secured(postgres_server, authority, "localhost", client_ca=clients) as url:
        for mode in ("require", "prefer"):
            assert await setting(f"{url}?sslmode={mode}&sslcert={tmp_path}/client.pem", "jit") == "off"
        with pytest.raises(StoreUnavailableError):
            await setting(f"{url}?sslmode=require", "jit")


async def test_a_server_without_tls_is_named(postgres_server: str) -> None:
    """Where TLS is required; where it is not, it is used as it is."""
    with pytest.raises(StoreUnavailableError, match=r"does not support TLS .*sslmode=disable"):
        await migrate(f"{postgres_server}?sslmode=require")
    for mode in ("disable", "allow", "prefer"):
        assert await setting(f"{postgres_server}?sslmode={mode}", "jit") == "off"
