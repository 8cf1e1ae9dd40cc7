"""How long to pause, and what a Retry-After asks for."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cambwatch.core.delivery.retry import (
    JITTER,
    LONGEST_RAW,
    LONGEST_RETRY_AFTER,
    Backoff,
    PauseReading,
    ReadAs,
    RequestedPause,
    RetryPolicy,
    parse_retry_after,
    read_accepts_again_after,
    requested_pause,
)

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
    assert parse_retry_after(value, now=NOW).pause == timedelta(seconds=seconds)


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
    assert parse_retry_after(value, now=NOW) == RequestedPause()


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
    wish = parse_retry_after(value, now=NOW).pause
    assert wish is None or timedelta(0) <= wish <= LONGEST_RETRY_AFTER


@given(st.timedeltas(timedelta(0), timedelta(days=3)))
def test_a_date_is_never_undercut(span: timedelta) -> None:
    """Unless it is more than a day away."""
    at = (NOW + span).replace(microsecond=0)
    wish = parse_retry_after(format_datetime(at, usegmt=True), now=NOW).pause
    assert wish == min(at - NOW, DAY)


@given(st.floats(0, 2 * 86_400))
def test_seconds_are_never_undercut(seconds: float) -> None:
    """Unless they are more than a day."""
    wish = parse_retry_after(repr(seconds), now=NOW).pause
    assert wish is not None
    assert wish >= min(timedelta(seconds=seconds), DAY)


UNIX = 1_795_327_200  # NOW
SECONDS, MILLISECONDS, CAPPED = ReadAs.UNIX_SECONDS, ReadAs.UNIX_MILLISECONDS, ReadAs.CAPPED


@pytest.mark.parametrize(
    ("value", "pause", "read_as", "seconds"),
    [
        (f"{UNIX + 90}", timedelta(seconds=90), SECONDS, 90),
        (f"{UNIX}.5", timedelta(seconds=0.5), SECONDS, 0.5),
        (f"{UNIX}", timedelta(0), SECONDS, 0),
        (f"{UNIX - 90}", None, SECONDS, 0),
        (f"{UNIX + 90_000}", DAY, SECONDS, 86_400),
        ("999999999", DAY, CAPPED, 86_400),
        ("1000000000", None, SECONDS, 0),
        ("100000000000", DAY, SECONDS, 86_400),
        ("100000000001", DAY, CAPPED, 86_400),
        ("999999999999", DAY, CAPPED, 86_400),
        ("1000000000000", None, MILLISECONDS, 0),
        (f"{UNIX}000", timedelta(0), MILLISECONDS, 0),
        (f"{UNIX + 45}250", timedelta(seconds=45.25), MILLISECONDS, 45.25),
        (f"{UNIX - 1}000", None, MILLISECONDS, 0),
        (f"{UNIX + 90_000}000", DAY, MILLISECONDS, 86_400),
        ("100000000000000", DAY, MILLISECONDS, 86_400),
        ("100000000000001", DAY, CAPPED, 86_400),
        (f"{UNIX}000000", DAY, CAPPED, 86_400),
        ("86401", DAY, CAPPED, 86_400),
        ("inf", DAY, CAPPED, 86_400),
        ("Fri, 31 Dec 2100 23:59:59 GMT", DAY, CAPPED, 86_400),
    ],
)
def test_a_large_number_is_read_by_its_size(
    value: str, pause: timedelta | None, read_as: ReadAs, seconds: float
) -> None:
    """As an instant where it is one of this age, else as seconds; the log says what was understood."""
    assert parse_retry_after(value, now=NOW) == RequestedPause(
        pause, PauseReading(value, pytest.approx(seconds), read_as)
    )


@pytest.mark.parametrize("value", [None, "", "soon", "0", "120", "86400", "-5", "Sun, 22 Nov 2026 06:02:00 GMT"])
def test_a_pause_in_plain_seconds_is_not_logged(value: str | None) -> None:
    assert parse_retry_after(value, now=NOW).reading is None


@given(st.integers(-86_400, 86_400), st.sampled_from([1, 1000]))
def test_an_instant_and_its_date_ask_for_the_same(offset_s: int, scale: int) -> None:
    """Whichever of three ways a server writes it."""
    at = NOW + timedelta(seconds=offset_s)
    as_number = parse_retry_after(str(int(at.timestamp()) * scale), now=NOW)
    assert as_number.pause == parse_retry_after(format_datetime(at, usegmt=True), now=NOW).pause


@given(st.integers(10**9, 10**14))
def test_no_size_of_a_number_asks_for_more_than_a_day(number: int) -> None:
    pause, reading = parse_retry_after(str(number), now=NOW)
    assert pause is None or timedelta(0) <= pause <= DAY
    assert reading is not None
    assert reading.seconds == (0 if pause is None else pause.total_seconds())


def test_the_log_repeats_little_of_a_header() -> None:
    """Without characters that a terminal would interpret."""
    reading = parse_retry_after("9" * 5000, now=NOW).reading
    assert reading == PauseReading("9" * LONGEST_RAW, 86_400, ReadAs.CAPPED)
    headers = {"retry-after": "\x1b[31m45\u202e000", "x-ratelimit-reset-after": "1"}
    reading = requested_pause(headers, service="discord", now=NOW).reading
    assert reading == PauseReading("[31m45000", 1, ReadAs.RESET_AFTER)


DATE = "Sun, 22 Nov 2026 07:00:00 GMT"  # an hour after NOW: the sender's clock


@pytest.mark.parametrize(
    ("headers", "pause_s"),
    [
        ({}, None),
        ({"retry-after": "30"}, 30),
        ({"retry-after": DATE}, 3600),
        ({"retry-after": "Sun, 22 Nov 2026 07:02:00 GMT", "date": DATE}, 120),
        ({"retry-after": f"{UNIX + 3700}", "date": DATE}, 100),
        ({"retry-after": f"{UNIX + 3700}000", "date": DATE}, 100),
        ({"retry-after": f"{UNIX + 3500}", "date": DATE}, None),
        ({"retry-after": f"{UNIX + 100}", "date": "yesterday"}, 100),
    ],
)
@pytest.mark.parametrize("service", ["webhook", "slack", "discord"])
def test_an_instant_is_judged_by_the_clock_that_named_it(
    service: str, headers: dict[str, str], pause_s: float | None
) -> None:
    """By the Date of the answer, else by ours."""
    pause = None if pause_s is None else timedelta(seconds=pause_s)
    assert requested_pause(headers, service=service, now=NOW).pause == pause


@pytest.mark.parametrize(
    ("value", "reset", "pause_s", "reading"),
    [
        ("45000", "45", 45, PauseReading("45000", 45, ReadAs.RESET_AFTER)),
        ("43323", "43.323", 43.323, PauseReading("43323", 43.323, ReadAs.RESET_AFTER)),
        ("250", "0.25", 0.25, PauseReading("250", 0.25, ReadAs.RESET_AFTER)),
        ("65", "64.57", 64.57, None),
        ("1", "1", 1, None),
        ("1", "2.5", 2.5, PauseReading("1", 2.5, ReadAs.RESET_AFTER)),
        (None, "1.5", 1.5, None),
        ("soon", "1.5", 1.5, PauseReading("soon", 1.5, ReadAs.RESET_AFTER)),
        (None, "1e9", 86_400, PauseReading("1e9", 86_400, ReadAs.CAPPED)),
        ("5", "1e9", 86_400, PauseReading("5", 86_400, ReadAs.RESET_AFTER)),
        ("30", None, 30, None),
        ("30", "", 30, None),
        ("30", "soon", 30, None),
        ("30", "-1", 30, None),
        ("30", "nan", 30, None),
        ("65000", None, 65_000, None),
    ],
)
def test_discord_is_read_by_its_reset_after(
    value: str | None, reset: str | None, pause_s: float, reading: PauseReading | None
) -> None:
    """Its unversioned URL says Retry-After in milliseconds, and Reset-After in seconds."""
    given = {"retry-after": value, "x-ratelimit-reset-after": reset}
    headers = {name: text for name, text in given.items() if text is not None}
    assert requested_pause(headers, service="discord", now=NOW) == RequestedPause(timedelta(seconds=pause_s), reading)


@pytest.mark.parametrize("service", ["webhook", "slack", "teams", "google_chat", "mattermost"])
def test_reset_after_counts_for_discord_only(service: str) -> None:
    headers = {"retry-after": "30", "x-ratelimit-reset-after": "1"}
    assert requested_pause(headers, service=service, now=NOW) == RequestedPause(timedelta(seconds=30))


@pytest.mark.parametrize(
    ("headers", "accepts_again_after"),
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
    headers: dict[str, str], accepts_again_after: timedelta | None
) -> None:
    """What makes no sense asks for nothing."""
    assert read_accepts_again_after(headers) == accepts_again_after
