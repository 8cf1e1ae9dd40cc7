"""TLS files for PostgreSQL: an error names its parameter, and sslmode selects what is verified."""

import ssl
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from cambwatch.adapters.store.postgres_tls import context
from cambwatch.config import ConfigError, loads
from cambwatch.core.postgres_url import parse_postgres_url

VERIFYING = "sslmode=verify-full&sslrootcert={folder}/ca.pem"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With a CA, a certificate, its key, the key of another, and what is neither; without a home."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    authority, other = trustme.CA(), trustme.CA()
    issued = authority.issue_cert("ada")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "client.pem")
    issued.private_key_pem.write_to_path(tmp_path / "client.key")
    issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    other.issue_cert("bob").private_key_pem.write_to_path(tmp_path / "other.key")
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
    lock = serialization.BestAvailableEncryption(b"open sesame")
    locked = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)
    (tmp_path / "locked.key").write_bytes(locked)
    (tmp_path / "text").write_text("no certificate")
    (tmp_path / "empty").touch()
    return tmp_path


def made(query: str, folder: Path) -> ssl.SSLContext:
    return context(parse_postgres_url(f"postgresql://u:hunter2@h/d?{query.format(folder=folder)}", {}).tls)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("sslmode=verify-full", "sslmode=verify-full needs a CA to verify the certificate with: add sslrootcert="),
        ("sslmode=verify-ca", "sslmode=verify-ca needs a CA"),
        ("sslmode=verify-full&sslrootcert=/nope", "sslrootcert: /nope cannot be read (No such file or directory)"),
        ("sslmode=require&sslrootcert={folder}", "cannot be read (Is a directory)"),
        ("sslmode=verify-ca&sslrootcert={folder}/text", "text must hold a CA certificate in PEM"),
        ("sslmode=verify-ca&sslrootcert={folder}/empty", "empty must hold a CA certificate in PEM"),
        (VERIFYING + "&sslcrl=/nope", "sslcrl: /nope cannot be read"),
        (VERIFYING + "&sslcrl={folder}/text", "text must hold a revocation list in PEM"),
        (VERIFYING + "&sslcert=/nope", "sslcert: /nope cannot be read"),
        (VERIFYING + "&sslcert={folder}/client.pem&sslkey=/nope", "sslkey: /nope cannot be read"),
        (VERIFYING + "&sslcert={folder}/client.pem", "client.pem must hold a certificate in PEM to which the key"),
        (VERIFYING + "&sslcert={folder}/client.pem&sslkey={folder}/other.key", "to which the key in sslkey belongs"),
        (VERIFYING + "&sslcert={folder}/client.pem&sslkey={folder}/text", "to which the key in sslkey belongs"),
        (VERIFYING + "&sslcert={folder}/client.pem&sslkey={folder}", "cannot be read (Is a directory)"),
        (VERIFYING + "&sslcert={folder}/client.pem&sslkey={folder}/locked.key", "sslpassword opens a key"),
        (VERIFYING + "&sslcert={folder}/client.pem&sslkey={folder}/locked.key&sslpassword=no", "sslpassword opens"),
        (VERIFYING + "&sslkey={folder}/client.key", "sslkey needs sslcert"),
        ("sslmode=prefer&sslcert=/nope", "sslcert: /nope cannot be read"),
    ],
)
def test_a_wrong_file_is_a_mistake_of_the_configuration(query: str, said: str, folder: Path) -> None:
    """The error names the parameter and the expected content, before the first connection."""
    url = f"postgresql://u:hunter2@h/d?{query.format(folder=folder)}"
    raw = f"camb: {{api_key: abcdef}}\nstore:\n  url: '{url}'\n"
    with pytest.raises(ConfigError) as caught:
        loads(raw.encode(), file="f", folder=folder, environ={})
    assert str(caught.value).startswith("f:3:8: store.url: ")
    assert said in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("query", "mode", "checks_host"),
    [
        ("sslmode=allow", ssl.CERT_NONE, False),
        ("sslmode=prefer&sslrootcert=/nope", ssl.CERT_NONE, False),
        ("sslmode=require", ssl.CERT_NONE, False),
        ("sslmode=no-verify&sslrootcert={folder}/ca.pem", ssl.CERT_NONE, False),
        ("sslmode=require&sslrootcert={folder}/ca.pem", ssl.CERT_REQUIRED, False),
        ("sslrootcert={folder}/ca.pem", ssl.CERT_REQUIRED, False),
        ("sslmode=verify-ca&sslrootcert={folder}/ca.pem", ssl.CERT_REQUIRED, False),
        (VERIFYING, ssl.CERT_REQUIRED, True),
        ("sslmode=verify-full&sslrootcert=system", ssl.CERT_REQUIRED, True),
        ("sslrootcert=system", ssl.CERT_REQUIRED, True),
    ],
)
def test_sslmode_selects_what_is_verified(query: str, mode: ssl.VerifyMode, checks_host: bool, folder: Path) -> None:  # noqa: FBT001
    """As libpq does it."""
    found = made(query, folder)
    assert (found.verify_mode, found.check_hostname) == (mode, checks_host)
    assert found.minimum_version is ssl.TLSVersion.TLSv1_2


def test_a_ca_in_the_home_is_found(folder: Path) -> None:
    """Where libpq looks for it."""
    place = folder / "home/.postgresql"
    place.mkdir(parents=True)
    (place / "root.crt").write_bytes((folder / "ca.pem").read_bytes())
    assert made("sslmode=require", folder).verify_mode is ssl.CERT_REQUIRED
    assert made("sslmode=verify-full", folder).check_hostname
    assert made("sslmode=no-verify", folder).verify_mode is ssl.CERT_NONE


def test_a_certificate_of_the_client_is_taken(folder: Path) -> None:
    """With its key beside it or in the same file, also where the key is encrypted; and versions are limited."""
    made(VERIFYING + "&sslcert={folder}/both.pem", folder)
    locked = "&sslcert={folder}/client.pem&sslkey={folder}/locked.key&sslpassword=open%20sesame"
    made(VERIFYING + locked, folder)
    found = made(
        VERIFYING + "&sslcert={folder}/client.pem&sslkey={folder}/client.key"
        "&ssl_min_protocol_version=TLSv1.3&ssl_max_protocol_version=TLSv1.3",
        folder,
    )
    assert (found.minimum_version, found.maximum_version) == (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3)
