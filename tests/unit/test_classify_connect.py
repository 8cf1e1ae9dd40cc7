"""What the answer of an egress proxy to CONNECT means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cambwatch.core.delivery.classification import classify_connect
from cambwatch.core.model import Outcome

MEANINGS = {
    100: Outcome.TRANSIENT,
    101: Outcome.TRANSIENT,
    201: Outcome.TRANSIENT,
    204: Outcome.TRANSIENT,
    299: Outcome.TRANSIENT,
    300: Outcome.POLICY,
    302: Outcome.POLICY,
    399: Outcome.POLICY,
    400: Outcome.POLICY,
    401: Outcome.POLICY,
    403: Outcome.POLICY,
    404: Outcome.POLICY,
    405: Outcome.POLICY,
    407: Outcome.OURS,
    408: Outcome.TRANSIENT,
    418: Outcome.POLICY,
    425: Outcome.TRANSIENT,
    429: Outcome.TRANSIENT,
    451: Outcome.POLICY,
    499: Outcome.POLICY,
    500: Outcome.TRANSIENT,
    502: Outcome.TRANSIENT,
    503: Outcome.TRANSIENT,
    504: Outcome.TRANSIENT,
    511: Outcome.TRANSIENT,
    999: Outcome.TRANSIENT,
}


@pytest.mark.parametrize(("http_status", "outcome"), MEANINGS.items())
def test_a_status_has_one_meaning(http_status: int, outcome: Outcome) -> None:
    """407: we are not known; other 4xx and redirects: we are not let through; the rest: the receiver is not reached."""
    assert classify_connect(http_status) is outcome


@given(st.integers(0, 9999))
def test_no_status_says_anything_of_the_receiver(http_status: int) -> None:
    """Neither that it has taken something nor that it has refused it: it was not asked."""
    assert classify_connect(http_status) in {Outcome.OURS, Outcome.POLICY, Outcome.TRANSIENT}
