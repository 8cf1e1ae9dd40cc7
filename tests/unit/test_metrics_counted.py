"""What is counted as it happens: right, for every answer there can be, and in the form that Prometheus reads."""

from bisect import bisect_left
from datetime import timedelta
from typing import get_args

import pytest
from delivery_samples import owed
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from task_samples import START

from cambwatch.adapters.metrics.counters import LATENESS_S, REQUEST_S, Metrics
from cambwatch.core.delivery.attempts import AttemptRecord
from cambwatch.core.model import (
    Attempt,
    Delivered,
    Fault,
    FinishedReply,
    ForbiddenReply,
    GiveUp,
    InvalidTaskIdReply,
    Outcome,
    PendingReply,
    PollReply,
    RetryAt,
    Status,
    UnavailableReply,
    UnconfirmedReply,
    UnknownTaskReply,
)

NOW = START + timedelta(seconds=40)
ANSWERS = {
    PendingReply(): "pending",
    PendingReply("QUEUED"): "pending",
    FinishedReply(Status.ERROR): "finished",
    UnconfirmedReply(5): "unconfirmed",
    UnknownTaskReply(): "unknown",
    InvalidTaskIdReply(): "invalid",
    ForbiddenReply(403): "forbidden",
    **{UnavailableReply(fault): fault.value for fault in Fault},
}


def shown(metrics: Metrics) -> dict[str, dict[tuple[str, ...], float]]:
    """The samples of each name, by the values of their labels in the order of the page."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(metrics.page(()).decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


@pytest.mark.parametrize(("reply", "outcome"), ANSWERS.items(), ids=str)
def test_each_answer_is_an_outcome(reply: PollReply, outcome: str) -> None:
    """Of a poll that brought no answer it is the fault."""
    metrics = Metrics()
    metrics.polled("default", "dub", reply, 0.5, 0.2)
    assert shown(metrics)["cambwatch_polls_total"] == {("dub", outcome): 1}


def test_no_answer_is_missing_above() -> None:
    assert {type(reply) for reply in ANSWERS} == set(get_args(PollReply))


@given(st.lists(st.tuples(st.floats(0, 1000), st.floats(0, 100))))
def test_polls_fall_into_the_buckets_of_their_spans(polls: list[tuple[float, float]]) -> None:
    """A bucket counts all up to its bound, the bound included; the last one counts all."""
    metrics = Metrics(accounts=["default"])
    for lateness_s, took_s in polls:
        metrics.polled("default", "dub", PendingReply(), lateness_s, took_s)
    page = shown(metrics)
    for name, bounds_s, spans_s in (
        ("cambwatch_poll_lateness_seconds", LATENESS_S, [one for one, _ in polls]),
        ("cambwatch_poll_duration_seconds", REQUEST_S, [one for _, one in polls]),
    ):
        expected = {("default", str(bound_s)): sum(span_s <= bound_s for span_s in spans_s) for bound_s in bounds_s}
        assert page[f"{name}_bucket"] == expected | {("default", "+Inf"): len(spans_s)}
        assert page[f"{name}_count"] == {("default",): len(spans_s)}
        assert page[f"{name}_sum"][("default",)] == pytest.approx(sum(spans_s))


def test_a_span_on_a_bound_is_within_it() -> None:
    """What is promised (50 ms) is a bound, so that the share that keeps it can be read off."""
    metrics = Metrics()
    metrics.polled("default", "dub", PendingReply(), 0.05, 0.05)
    buckets = shown(metrics)["cambwatch_poll_lateness_seconds_bucket"]
    assert (buckets["default", "0.05"], buckets["default", "0.025"]) == (1, 0)
    assert bisect_left(REQUEST_S, 0.05) == REQUEST_S.index(0.05)


def test_polls_are_counted_by_kind_and_by_account() -> None:
    metrics = Metrics()
    for account, kind in (("default", "dub"), ("default", "tts"), ("b", "dub")):
        metrics.polled(account, kind, PendingReply(), 0, 0)
    page = shown(metrics)
    assert page["cambwatch_polls_total"] == {("dub", "pending"): 2, ("tts", "pending"): 1}
    assert page["cambwatch_poll_lateness_seconds_count"] == {("default",): 2, ("b",): 1}


def test_the_configuration_is_there_before_anything_happens() -> None:
    """As 0, so that the first failure is a rise that an alert can see."""
    page = shown(Metrics(destinations=["team"], accounts=["default"]))
    assert page["cambwatch_deliveries_total"] == {("team", "delivered"): 0, ("team", "dead"): 0}
    assert page["cambwatch_delivery_delay_seconds_count"] == {("team",): 0}
    assert page["cambwatch_delivery_duration_seconds_count"] == {("team",): 0}
    assert page["cambwatch_poll_lateness_seconds_count"] == {("default",): 0}


def test_nothing_is_shown_of_when_a_count_began() -> None:
    """The text format has no place for it but as many gauges again."""
    metrics = Metrics(destinations=["team"], accounts=["default"])
    metrics.concluded("dub", Status.SUCCESS, 2)
    assert not [name for name in shown(metrics) if name.endswith("_created")]


def test_an_end_whose_moment_is_not_known_has_no_delay() -> None:
    """It may have waited for hours before we were told of the task."""
    metrics = Metrics()
    metrics.concluded("dub", Status.SUCCESS, None)
    metrics.concluded("dub", Status.SUCCESS, 2.5)
    page = shown(metrics)
    assert page["cambwatch_tasks_concluded_total"] == {("dub", "SUCCESS"): 2}
    assert page["cambwatch_detection_delay_seconds_count"] == {("dub",): 1}
    assert page["cambwatch_detection_delay_seconds_sum"] == {("dub",): 2.5}


def tried(decision: Delivered | GiveUp | RetryAt, outcome: Outcome) -> AttemptRecord:
    """Of a delivery that is owed since START."""
    return AttemptRecord(owed(), Attempt(1, outcome, took_ms=250), decision)


def test_an_attempt_is_counted_by_its_outcome_and_by_what_follows() -> None:
    """A POST has a duration, an acceptance a delay since the event; what is tried again is not over."""
    metrics = Metrics()
    for one in (
        tried(RetryAt(NOW), Outcome.TRANSIENT),
        tried(GiveUp(), Outcome.DESTINATION_GONE),
        tried(Delivered(), Outcome.ACCEPTED_UNVERIFIED),
    ):
        metrics.attempted("team", [one], posted=True, now=NOW)
    page = shown(metrics)
    assert page["cambwatch_delivery_attempts_total"] == {
        ("team", "transient"): 1,
        ("team", "destination_gone"): 1,
        ("team", "accepted_unverified"): 1,
    }
    assert page["cambwatch_deliveries_total"] == {("team", "dead"): 1, ("team", "delivered"): 1}
    assert page["cambwatch_delivery_duration_seconds_sum"] == {("team",): 0.75}
    assert page["cambwatch_delivery_delay_seconds_sum"] == {("team",): 40}
    assert page["cambwatch_delivery_delay_seconds_count"] == {("team",): 1}


def test_a_digest_is_one_post_and_an_attempt_of_each_that_it_tells_of() -> None:
    metrics = Metrics()
    metrics.attempted("team", [tried(Delivered(), Outcome.ACCEPTED)] * 3, posted=True, now=NOW)
    page = shown(metrics)
    assert page["cambwatch_delivery_attempts_total"] == {("team", "accepted"): 3}
    assert page["cambwatch_deliveries_total"] == {("team", "delivered"): 3}
    assert page["cambwatch_delivery_duration_seconds_count"] == {("team",): 1}


def test_what_did_not_leave_us_has_no_duration() -> None:
    """A template that fails says nothing of the receiver."""
    metrics = Metrics(destinations=["team"])
    metrics.attempted("team", [tried(RetryAt(NOW), Outcome.OURS)], posted=False, now=NOW)
    page = shown(metrics)
    assert page["cambwatch_delivery_attempts_total"] == {("team", "ours"): 1}
    assert page["cambwatch_delivery_duration_seconds_count"] == {("team",): 0}


def test_a_clock_that_was_set_back_makes_no_negative_delay() -> None:
    """Its sum would fall, which Prometheus takes for a restart."""
    metrics = Metrics()
    metrics.attempted("team", [tried(Delivered(), Outcome.ACCEPTED)], posted=True, now=START - timedelta(hours=1))
    assert shown(metrics)["cambwatch_delivery_delay_seconds_sum"] == {("team",): 0}


def test_transactions_and_lag_are_counted() -> None:
    metrics = Metrics()
    metrics.observe_write(0.004)
    metrics.read(0.25)
    metrics.lagged(0.5)
    page = shown(metrics)
    for name, total in (("database_write_duration", 0.004), ("database_read_duration", 0.25), ("loop_lag", 0.5)):
        assert page[f"cambwatch_{name}_seconds_sum"] == {(): total}
    assert page["cambwatch_database_write_duration_seconds_bucket"]["0.005",] == 1
    assert page["cambwatch_database_write_duration_seconds_bucket"]["0.0025",] == 0


def test_two_of_them_do_not_count_together() -> None:
    """There is no registry but their own."""
    one, other = Metrics(), Metrics()
    one.concluded("dub", Status.SUCCESS, 1)
    assert "cambwatch_tasks_concluded_total" not in shown(other)
