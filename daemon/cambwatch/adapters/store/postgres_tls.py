"""TLS for PostgreSQL: loads the files that store.url names, and explains a refused certificate."""

import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from cambwatch.core.postgres_parameters import SslMode
from cambwatch.core.postgres_url import PostgresTls

_HOME = ".postgresql"  # in the user's home: libpq's default folder


def context(tls: PostgresTls) -> ssl.SSLContext:
    """
    The SSL context for *tls*, with libpq's default files in ~/.postgresql.

    Raises ValueError, which names the parameter and says what to do, if a file is missing, cannot
    be read, or has the wrong content.
    """
    tls_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls_context.check_hostname = tls.mode is SslMode.VERIFY_FULL
    tls_context.verify_mode = ssl.CERT_REQUIRED if _load_cas(tls_context, tls) else ssl.CERT_NONE
    if tls_context.verify_mode is ssl.CERT_REQUIRED and (crl := tls.crl or _default_file("root.crl")):
        _load("sslcrl", crl, "a revocation list in PEM", tls_context.load_verify_locations)
        tls_context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
    _load_client_certificate(tls_context, tls)
    tls_context.minimum_version = _version(tls.min_version)
    if tls.max_version:
        tls_context.maximum_version = _version(tls.max_version)
    tls_context.set_alpn_protocols(["postgresql"])
    return tls_context


def _load_cas(tls_context: ssl.SSLContext, tls: PostgresTls) -> bool:
    """Load the CAs into *tls_context*; False if the certificate is not verified."""
    if not tls.mode.requires_tls or tls.mode is SslMode.NO_VERIFY:
        return False
    if tls.root == "system":
        tls_context.load_default_certs()
        return True
    if root := tls.root or _default_file("root.crt"):
        _load("sslrootcert", root, "a CA certificate in PEM", tls_context.load_verify_locations)
        return True
    if tls.mode is SslMode.REQUIRE:
        return False
    raise ValueError(
        f"sslmode={tls.mode} needs a CA to verify the certificate with: add sslrootcert=/path/to/ca.pem"
        + (", or sslrootcert=system for the CAs of this machine" if tls.mode is SslMode.VERIFY_FULL else "")
    )


def _load_client_certificate(tls_context: ssl.SSLContext, tls: PostgresTls) -> None:
    certificate = tls.certificate or _default_file("postgresql.crt")
    if certificate is None:
        if tls.key:
            raise ValueError("sslkey needs sslcert, the certificate that belongs to it")
        return
    key = tls.key or _default_file("postgresql.key")
    password = tls.key_password.reveal() if tls.key_password else ""
    if key:
        _check_readable("sslkey", key)
    what = "a certificate in PEM to which the key in sslkey belongs; sslpassword opens a key that is encrypted"
    _load("sslcert", certificate, what, lambda name: tls_context.load_cert_chain(name, key, lambda: password))


def _load(parameter: str, path: str, what: str, load: Callable[[str], None]) -> None:
    _check_readable(parameter, path)
    try:
        load(path)
    except (ssl.SSLError, ValueError):  # the latter: a password that is too long
        raise ValueError(f"{parameter}: {path} must hold {what}") from None


def _check_readable(parameter: str, path: str) -> None:
    try:
        with Path(path).open("rb") as file:
            file.read(1)
    except OSError as error:
        raise ValueError(
            f"{parameter}: {path} cannot be read ({error.strerror}): name a file that cambwatch's user can read"
        ) from None


def _default_file(name: str) -> str | None:
    try:
        path = Path.home() / _HOME / name
        return str(path) if path.exists() else None
    except (RuntimeError, KeyError, OSError):  # there is no home folder, or this user cannot read it
        return None


def _version(name: str) -> ssl.TLSVersion:
    return ssl.TLSVersion[name.replace(".", "_")]


_CA = "add the CA that issued it: sslrootcert=/path/to/ca.pem, or sslrootcert=system if a public CA did"
_REFUSALS: Mapping[int, tuple[str, str]] = MappingProxyType(
    # Of OpenSSL: https://docs.openssl.org/master/man3/X509_STORE_CTX_get_error/
    {
        9: ("is not valid yet", "check the clock of this machine and the server's certificate"),
        10: ("has expired", "renew the server's certificate; cambwatch retries by itself"),
        3: (
            "cannot be checked against the revocation list",
            "write the CA's current list to the file that sslcrl names",
        ),
        12: ("cannot be checked: the revocation list has expired", "renew the file that sslcrl names"),
        18: ("is self-signed", "set sslrootcert to the certificate itself"),
        19: ("was issued by a CA that is not trusted here", _CA),
        20: ("was issued by a CA that is not trusted here", _CA),
        21: ("was issued by a CA that is not trusted here", _CA),
        23: ("was revoked", "give the server a new certificate"),
        62: (
            "is for another host",
            "write the host in store.url as the certificate names it, or use sslmode=verify-ca",
        ),
        64: (
            "is for another host",
            "write the host in store.url as the certificate names it, or use sslmode=verify-ca",
        ),
    }
)


def explain_refused_certificate(error: ssl.SSLCertVerificationError) -> tuple[str, str]:
    """What is wrong with the server's certificate, and what to do."""
    problem, hint = _REFUSALS.get(error.verify_code, (f"is refused: {error.verify_message}", _CA))
    return f"the server's certificate {problem}", hint
