"""Instants and spans in writing."""

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cambwatch.core.instants import LONGEST_DURATION, format_duration, parse_duration, rfc3339

instants = st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - naive by its API


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (datetime(2026, 11, 22, 6, 0, 0, 123_999, tzinfo=UTC), "2026-11-22T06:00:00.123Z"),
        (datetime(2026, 11, 22, 6, 0, tzinfo=UTC), "2026-11-22T06:00:00.000Z"),
        (datetime(2026, 11, 22, 1, 30, tzinfo=timezone(timedelta(hours=-4, minutes=-30))), "2026-11-22T06:00:00.000Z"),
    ],
)
def test_instants_are_written_in_utc_with_milliseconds(at: datetime, text: str) -> None:
    """Wherever they were taken."""
    assert rfc3339(at) == text


@given(instants)
def test_written_instants_can_be_read(at: datetime) -> None:
    """By anybody, to the millisecond."""
    text = rfc3339(at)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text)
    assert timedelta(0) <= at - datetime.fromisoformat(text) < timedelta(milliseconds=1)


@given(instants, instants)
def test_written_instants_sort_by_time(one: datetime, other: datetime) -> None:
    """As texts."""
    assert (rfc3339(one) <= rfc3339(other)) or one > other


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("500ms", timedelta(milliseconds=500)),
        ("30s", timedelta(seconds=30)),
        ("5m", timedelta(minutes=5)),
        ("12h", timedelta(hours=12)),
        ("7d", timedelta(days=7)),
        ("1h30m", timedelta(minutes=90)),
        ("1h 30m", timedelta(minutes=90)),
        ("1m500ms", timedelta(seconds=60.5)),
        ("1.5s", timedelta(seconds=1.5)),
        ("0.1s", timedelta(milliseconds=100)),
        ("0s", timedelta(0)),
        ("3650d", LONGEST_DURATION),
    ],
)
def test_spans_are_read(text: str, span: timedelta) -> None:
    """A number and a unit, or a sum of them."""
    assert parse_duration(text) == span


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "5",
        "s",
        "-5s",
        "+5s",
        "5 parsecs",
        "5S",
        "5M",
        "1e3s",
        ".5s",
        "5.s",
        "1,5s",
        "5s!",
        "!5s",
        "5s 5",
        "inf s",
        "nan",
        "٣s",
        "5s\0",
        "1s" * 30,
        "9" * 400 + "s",
        "1h\n30m",
    ],
)
def test_anything_else_is_no_span(text: str) -> None:
    """And the message shows what one looks like."""
    with pytest.raises(ValueError, match="write a number and a unit, such as 500ms"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["3651d", "3650d1ms", "99999999999999999999d"])
def test_spans_end_at_ten_years(text: str) -> None:
    """More is a slip, and would overflow somewhere."""
    with pytest.raises(ValueError, match="longer than ten years"):
        parse_duration(text)


@given(st.text("0123456789.smhd -", max_size=45) | st.text())
def test_every_text_is_a_span_or_refused(text: str) -> None:
    """With ValueError, and nothing else."""
    try:
        span = parse_duration(text)
    except ValueError:
        return
    assert timedelta(0) <= span <= LONGEST_DURATION


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "0.0 s"),
        (0, "0.0 s"),
        (0.41, "0.4 s"),
        (0.96, "1 s"),
        (1, "1 s"),
        (41.2, "41 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (3599.7, "1 h"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
        (7559, "2 h 5 min"),
        (86_400, "1 d"),
        (273_600, "3 d 4 h"),
        (86_400 * 365, "365 d"),
    ],
)
def test_spans_are_told_in_two_units(seconds: float, words: str) -> None:
    """The two largest, without a rest that is nothing."""
    assert format_duration(timedelta(seconds=seconds)) == words


@given(st.timedeltas(timedelta(0), LONGEST_DURATION))
def test_told_spans_are_near_the_truth(span: timedelta) -> None:
    """Never more than a second too long, nor short by more than one of the smaller unit."""
    words = format_duration(span)
    pairs = re.findall(r"([\d.]+) (min|s|h|d)", words)
    units = {"s": 1, "min": 60, "h": 3600, "d": 86400}
    told = sum(float(number) * units[unit] for number, unit in pairs)
    smaller = {"s": 1, "min": 1, "h": 60, "d": 3600}[pairs[0][1]]
    assert -1 <= span.total_seconds() - told < smaller + 1
    assert " ".join(f"{number} {unit}" for number, unit in pairs) == words
