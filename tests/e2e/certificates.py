"""Certificates for receivers that speak TLS, of an authority that nobody trusts until he is told to."""

import ssl
from datetime import UTC, datetime

import trustme

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def certified(authority: trustme.CA, *, until: datetime | None = None) -> ssl.SSLContext:
    """For a server, with a certificate of *authority* for localhost that is good *until* then; None: for long."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", not_before=LONG_AGO, not_after=until).configure_cert(context)
    return context
