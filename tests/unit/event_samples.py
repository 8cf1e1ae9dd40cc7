"""Events for the tests of what is told: plain ones, and those that hypothesis makes up."""

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from cambwatch.core.camb.kinds import KINDS
from cambwatch.core.events import DestinationAlert, GroupComplete, Link, TaskEnded
from cambwatch.core.model import Outcome, Status
from cambwatch.core.redaction import Secret
from cambwatch.core.routing import Destination

START = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
TERMINAL = [status for status in Status if status is not Status.PENDING]

# Every character there is, lone surrogates and control characters too.
characters = st.characters(exclude_categories=())
PIECES = [
    ("", 1),
    (" ", 1),
    ("\n\t\r\0", 1),
    ("\ud800", 1),
    ("\u202eevil", 1),
    ("شكرا جزيلا", 1),
    ("👩‍👩‍👧‍👦", 1),
    ("<!channel> @here <@U123> <https://evil.example|click>", 1),
    ("*bold* _it_ ~no~ `code` :skull:", 1),
    ("&amp;&lt;", 1),
    ("a\n> quote\n```block```", 1),
    ("{span} {0} %s", 1),
    ("&", 4000),
    ("<>", 2000),
    ("😀", 3000),
    ("x", 20_000),
]
nasty = st.sampled_from(PIECES).map(lambda piece: piece[0] * piece[1])
texts = st.one_of(st.text(characters, max_size=40), nasty)
instants = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - naive by its API
urls = st.one_of(
    texts,
    st.builds(lambda end: f"https://cdn.example/{end}", st.one_of(texts, st.text("ab?&=|<>\"'é😀", max_size=200))),
    st.builds(lambda n: "https://cdn.example/" + "&" * n, st.integers(0, 4100)),
    st.builds(lambda n: f"https://cdn.example/{n}", st.integers(0, 10**6)),
)
link_lists = st.lists(st.builds(Link, label=texts, url=urls), max_size=50).map(tuple)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
tasks = st.builds(
    TaskEnded,
    account=st.one_of(st.just("default"), texts),
    kind=st.one_of(st.sampled_from(sorted(KINDS)), texts),
    task_id=texts,
    registrations=st.integers(1, 10**6),
    status=st.sampled_from(TERMINAL),
    registered_at=instants,
    finished_at=instants,
    name=st.none() | texts,
    labels=st.dictionaries(texts, texts, max_size=15),
    group=st.none() | texts,
    run_id=st.none() | st.integers(1, 2**63 - 1),
    exception_reason=st.none() | st.just("PAYMENT_REQUIRED") | texts,
    message=st.none() | texts,
    polls=st.integers(0, 10**6),
    result_endpoint=st.none() | texts,
    result=json_values,
    links=link_lists,
    result_pending=st.booleans(),
)
groups = st.builds(
    GroupComplete,
    group=texts,
    counts=st.dictionaries(st.sampled_from([status.value for status in TERMINAL]), st.integers(0, 10**6)),
    tasks=st.integers(0, 10**6),
    registered_at=instants,
    finished_at=instants,
)
alerts = st.builds(
    DestinationAlert,
    destination=texts,
    since=instants,
    at=instants,
    recovered=st.booleans(),
    waiting=st.integers(0, 10**6),
    outcome=st.sampled_from(Outcome),
    http_status=st.none() | st.integers(100, 599),
)
routed = st.one_of(tasks, groups)
events = st.one_of(tasks, groups, alerts)

COMMAND = "`cambwatch show dub 6a1f0c9e-58b5-4b8e`"  # prints the task of ended()


def ended(
    status: Status = Status.SUCCESS, *, after: timedelta = timedelta(seconds=41.2), **fields: object
) -> TaskEnded:
    """A plain event of a dub; *fields* say what else is special."""
    known = {"account": "default", "kind": "dub", "task_id": "6a1f0c9e-58b5-4b8e", "registrations": 1}
    return TaskEnded(**{**known, "status": status, "registered_at": START, "finished_at": START + after, **fields})


def complete(counts: dict[str, int], group: str = "season-1") -> GroupComplete:
    """A plain group."""
    return GroupComplete(group, counts, sum(counts.values()), START, START + timedelta(minutes=3))


def alert(*, recovered: bool = False, **fields: object) -> DestinationAlert:
    """A destination that has been down for twenty minutes, or is back after them."""
    known = {"waiting": 3, "outcome": Outcome.TRANSIENT, "http_status": 503, "at": START + timedelta(minutes=20)}
    return DestinationAlert("team-slack", START, recovered=recovered, **{**known, **fields})


def receiver(kind: str, **fields: object) -> Destination:
    """A destination of type *kind*."""
    return Destination("receiver", kind, Secret("https://hooks.example/secret"), **fields)
