"""Deliveries and attempts for the tests of what becomes of them."""

from datetime import datetime, timedelta

from hypothesis import strategies as st
from task_samples import START

from cambwatch.core.delivery.retry import RetryPolicy
from cambwatch.core.model import Delivery, DeliveryState, Outcome
from cambwatch.core.redaction import Secret
from cambwatch.core.routing import Destination

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
NOTHING = timedelta(0)
MICROSECOND = timedelta(microseconds=1)  # pauses are rounded to it

ACCEPTED = {Outcome.ACCEPTED, Outcome.ACCEPTED_UNVERIFIED}
REFUSED = {Outcome.PAYLOAD_REJECTED, Outcome.DESTINATION_GONE, Outcome.AUTH, Outcome.POLICY}
SPARED = {Outcome.RATE_LIMITED, Outcome.OURS}
PASSING = {Outcome.TRANSIENT} | SPARED

chances = st.floats(0, 1, exclude_max=True)
wishes = st.none() | st.timedeltas(NOTHING, DAY)
kinds = st.sampled_from(["webhook", "slack"])
outcomes = st.sampled_from(list(Outcome))
http_statuses = st.none() | st.sampled_from([400, 401, 403, 404, 410, 429, 500, 503])
retries = st.builds(
    RetryPolicy,
    first=st.timedeltas(SECOND, HOUR),
    factor=st.floats(1, 10),
    max=st.timedeltas(SECOND, 6 * HOUR),
    give_up_after=st.timedeltas(SECOND, timedelta(days=10)),
)
# A whole life by these is some hundred attempts at most.
slow_retries = st.builds(
    RetryPolicy,
    first=st.timedeltas(20 * MINUTE, HOUR),
    factor=st.floats(1, 10),
    max=st.timedeltas(20 * MINUTE, HOUR),
    give_up_after=st.timedeltas(SECOND, DAY),
)


def receiver(kind: str, retry: RetryPolicy | None = None) -> Destination:
    return Destination("receiver", kind, Secret("https://hooks.example/x"), retry=retry or RetryPolicy())


def owed(
    *,
    attempts: int = 0,
    outcome: Outcome | None = None,
    due: datetime = START,
    uncharged: timedelta = NOTHING,
    number: int = 1,
) -> Delivery:
    """A delivery of an event at START, after *attempts* of which the last ended with *outcome*; the next is *due*."""
    state = DeliveryState.PENDING
    return Delivery(
        f"msg_{number}", number, "receiver", state, attempts, START, due, outcome=outcome, uncharged=uncharged
    )
