"""How long to pause, and what a Retry-After asks for."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cambwatch.core.retry import JITTER, LONGEST_RETRY_AFTER, Backoff, RetryPolicy, quiet_after, retry_after

NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
DAY = timedelta(hours=24)
MICROSECOND = timedelta(microseconds=1)  # pauses are rounded to it

chances = st.floats(0, 1, exclude_max=True)
backoffs = st.builds(
    Backoff,
    first=st.timedeltas(timedelta(milliseconds=1), timedelta(days=1)),
    factor=st.floats(1, 100),
    max=st.timedeltas(timedelta(milliseconds=1), timedelta(days=3650)),
)


def test_pauses_grow_by_the_factor_up_to_the_most() -> None:
    """Counted from the first failure."""
    backoff = Backoff(timedelta(seconds=5), 2, timedelta(minutes=1))
    pauses = [backoff.pause(attempt, chance=0).total_seconds() for attempt in range(1, 8)]
    assert pauses == [5, 10, 20, 40, 60, 60, 60]


def test_jitter_stretches_a_pause_by_a_fifth_at_most() -> None:
    """So that many that failed together do not come again together."""
    backoff = Backoff(timedelta(seconds=10), 2, timedelta(minutes=1))
    assert backoff.pause(1, chance=0.5) == timedelta(seconds=11)
    assert backoff.pause(9, chance=0.5) == timedelta(seconds=66)


@given(backoffs, st.integers(1, 10**9), chances)
def test_pauses_lie_within_their_bounds(backoff: Backoff, attempt: int, chance: float) -> None:
    """Never shorter than the first, never longer than the most and its jitter."""
    pause = backoff.pause(attempt, chance=chance)
    assert min(backoff.first, backoff.max) - MICROSECOND <= pause <= backoff.max * (1 + JITTER) + MICROSECOND


@given(backoffs, st.integers(1, 200), chances)
def test_jitter_only_adds(backoff: Backoff, attempt: int, chance: float) -> None:
    """A pause is never shorter than without chance, nor than the plain one before it."""
    plain = backoff.pause(attempt, chance=0)
    assert plain <= backoff.pause(attempt, chance=chance) <= plain * (1 + JITTER) + MICROSECOND
    assert plain <= backoff.pause(attempt + 1, chance=0)


def test_a_policy_tries_for_three_days_unless_told_otherwise() -> None:
    """And its pauses are those of its own figures."""
    policy = RetryPolicy(first=timedelta(seconds=1), factor=3, max=timedelta(minutes=5))
    assert policy.give_up_after == timedelta(days=3)
    assert policy.backoff == Backoff(timedelta(seconds=1), 3, timedelta(minutes=5))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("-0", 0),
        ("1", 1),
        ("120", 120),
        (" 120 ", 120),
        ("0.5", 0.5),
        ("1.25", 1.25),
        ("86400", 86_400),
        ("86401", 86_400),
        ("1e3", 1000),
        ("1e300", 86_400),
        ("9" * 5000, 86_400),
        ("inf", 86_400),
        ("Infinity", 86_400),
        ("Sun, 22 Nov 2026 06:02:00 GMT", 120),
        ("Sun, 22 Nov 2026 06:02:00 -0000", 120),
        ("Sun, 22 Nov 2026 07:02:00 +0100", 120),
        ("Sunday, 22-Nov-26 06:02:00 GMT", 120),
        ("Sun Nov 22 06:02:00 2026", 120),
        ("Sun, 22 Nov 2026 06:00:00 GMT", 0),
        ("Mon, 23 Nov 2026 06:00:01 GMT", 86_400),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400),
        ("Fri, 31 Dec 9999 23:59:59 -2300", 86_400),
    ],
)
def test_a_wish_is_kept_up_to_a_day(value: str, seconds: float) -> None:
    """In seconds, with a fraction, or as a date in each form that HTTP knows."""
    assert retry_after(value, now=NOW) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        " ",
        "-1",
        "-0.001",
        "-inf",
        "nan",
        "NaN",
        "soon",
        "5 s",
        "1,5",
        "0x10",
        "Sun, 22 Nov 2026 05:59:59 GMT",
        "Thu, 01 Jan 1970 00:00:00 GMT",
        "Sat, 01 Jan 0001 00:00:00 +2300",
        "Sun, 22 Nov 10000 06:00:00 GMT",
        "Mon, 30 Feb 2027 06:00:00 GMT",
        "Sun, 22 Nov 2026 25:00:00 GMT",
        "Sun, 22 Nov 2026 06:00:00 +9999",
        "2026-11-22T06:02:00Z",
        "\0",
        "\ud800",
    ],
)
def test_a_wish_without_sense_is_none(value: str | None) -> None:
    """Then the pause is our own."""
    assert retry_after(value, now=NOW) is None


PIECES = "Mon , Sun 06 Nov 1994 9999 10000 31 Dec 23 : 59 GMT +0000 -9999 +99999 08:49:37 Jan - EST 1e5 ( ) \\ Feb"
pieces = st.sampled_from([*PIECES.split(), "", " "])


@given(
    st.text(st.characters(exclude_categories=()))
    | st.lists(pieces, max_size=9).map(" ".join)
    | st.lists(pieces, max_size=9).map("".join)
    | st.floats().map(str)
    | st.integers().map(str)
)
def test_every_header_has_an_answer(value: str) -> None:
    """None or a pause of at most a day; no text raises."""
    wish = retry_after(value, now=NOW)
    assert wish is None or timedelta(0) <= wish <= LONGEST_RETRY_AFTER


@given(st.timedeltas(timedelta(0), timedelta(days=3)))
def test_a_date_is_never_undercut(span: timedelta) -> None:
    """Unless it is more than a day away."""
    at = (NOW + span).replace(microsecond=0)
    wish = retry_after(format_datetime(at, usegmt=True), now=NOW)
    assert wish == min(at - NOW, DAY)


@given(st.floats(0, 2 * 86_400))
def test_seconds_are_never_undercut(seconds: float) -> None:
    """Unless they are more than a day."""
    wish = retry_after(repr(seconds), now=NOW)
    assert wish is not None
    assert wish >= min(timedelta(seconds=seconds), DAY)


@pytest.mark.parametrize(
    ("headers", "quiet"),
    [
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset-after": "1.5"}, timedelta(seconds=1.5)),
        ({"x-ratelimit-remaining": " 0 ", "x-ratelimit-reset-after": "1e9"}, DAY),
        ({"x-ratelimit-remaining": "1", "x-ratelimit-reset-after": "1.5"}, None),
        ({"x-ratelimit-remaining": "0"}, None),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset-after": "soon"}, None),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset-after": "-1"}, None),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset-after": "nan"}, None),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset-after": "Fri, 31 Dec 9999 23:59:59 GMT"}, None),
        ({"x-ratelimit-reset-after": "1.5"}, None),
        ({}, None),
    ],
)
def test_who_says_that_this_was_the_last_for_now_is_left_alone(
    headers: dict[str, str], quiet: timedelta | None
) -> None:
    """What makes no sense asks for nothing."""
    assert quiet_after(headers) == quiet
