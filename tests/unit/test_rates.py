"""How many requests a client may send, and who is one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cambwatch.web.limits import MOST_CLIENTS, RateLimiter, client_of


@pytest.mark.parametrize(
    ("peer", "machine"),
    [
        (("127.0.0.1", 1), None),
        (("127.8.9.1", 1), None),
        (("::1", 1, 0, 0), None),
        (("::ffff:127.0.0.1", 1, 0, 0), None),
        ("", None),
        ("/run/a.sock", None),
        (None, None),
        (("192.0.2.7", 1), "192.0.2.7"),
        (("::ffff:192.0.2.7", 1, 0, 0), "192.0.2.7"),
        (("2001:db8::1:2:3:4", 1, 0, 0), "2001:db8::/64"),
        (("2001:db8:0:0:ffff::1", 1, 0, 0), "2001:db8::/64"),
        (("fe80::1%eth0", 1, 0, 2), "fe80::/64"),
    ],
)
def test_a_client_is_an_address_or_the_network_of_a_machine(peer, machine):
    assert client_of(peer) == machine


@given(st.floats(0.01, 5000), st.lists(st.floats(0, 3), min_size=1, max_size=300))
def test_no_more_pass_than_the_rate_and_one_burst(per_second, pauses):
    """Whenever they come; and who waits as long as was said is let through."""
    now_s = 1000.0
    rates = RateLimiter(per_second, monotonic=lambda: now_s)
    burst = max(per_second, 1)
    passed = 0
    for pause_s in pauses:
        now_s += pause_s
        wait_s = rates.take("a")
        passed += not wait_s
        assert passed <= burst + per_second * (now_s - 1000.0) + 1e-3
        if wait_s:
            assert rates.take("a") == wait_s  # asking again costs nothing
            now_s += wait_s
            assert rates.take("a") == 0
            passed += 1


def test_clients_do_not_share_a_bucket():
    rates = RateLimiter(1, monotonic=lambda: 0.0)
    assert [rates.take(client) == 0 for client in ("a", "b", "a", "c", "b")] == [True, True, False, True, False]


def test_of_too_many_clients_the_one_that_was_silent_longest_is_forgotten():
    now_s = 0.0
    rates = RateLimiter(1, monotonic=lambda: now_s)
    for number in range(MOST_CLIENTS):
        assert rates.take(str(number)) == 0
    assert rates.take("new") == 0
    assert rates.take("1") > 0
    assert rates.take("0") == 0  # forgotten, and with it that it had its token
    now_s += 10
    assert rates.take("2") == 0
    assert [rates.take(f"new {number}") for number in range(MOST_CLIENTS - 1)] == [0] * (MOST_CLIENTS - 1)
    assert rates.take("2") > 0
