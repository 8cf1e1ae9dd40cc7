"""What nodes tell each other through the server: it arrives, whole, at all others, and again after a break."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import fields, replace
from typing import Any

import asyncpg
import pytest

from cambwatch.adapters.store.cluster_events import IDS_PER_MESSAGE, PostgresClusterEvents
from cambwatch.core.cluster import ClusterEvent
from postgres_server import execute, fetch

PATIENCE_S = 15.0
ALL_SORTS = [
    ClusterEvent(queued=frozenset({"hook", "slack"})),
    ClusterEvent(retry_now=frozenset({"hook"})),
    ClusterEvent(finished=frozenset({1, 2**62})),
    ClusterEvent(removed=frozenset({3})),
    ClusterEvent(poll_requested=frozenset({4})),
    ClusterEvent(cancelled=frozenset({"msg_a", "msg_b"})),
    ClusterEvent(rebalance=True),
    ClusterEvent(reload=True),
]
BREAK = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE application_name = 'cambwatch peers' AND datname = current_database()"
)

NEWEST = (
    "SELECT pid FROM pg_stat_activity WHERE application_name = 'cambwatch peers' AND datname = current_database() "
    "ORDER BY backend_start DESC LIMIT 1"
)


class Listener:
    """A node that keeps what it hears."""

    def __init__(self, url: str, name: str) -> None:
        self.cluster_events = PostgresClusterEvents(url, name)
        self.heard = ClusterEvent()
        self.times_deaf = 0
        self._changed = asyncio.Event()
        self.cluster_events.heard, self.cluster_events.disconnected = self._hear, self._miss

    def _hear(self, news: ClusterEvent) -> None:
        self.heard = together(self.heard, news)
        self._changed.set()

    def _miss(self) -> None:
        self.times_deaf += 1
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return when *condition* holds, which may change with what is heard or missed."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


def together(one: ClusterEvent, other: ClusterEvent) -> ClusterEvent:
    """All that either tells."""
    return ClusterEvent(
        **{field.name: getattr(one, field.name) | getattr(other, field.name) for field in fields(ClusterEvent)}
    )


@pytest.fixture
async def three(url: str) -> AsyncIterator[list[Listener]]:
    """Three nodes that hear each other."""
    async with AsyncExitStack() as running:
        made = [Listener(url, name) for name in "abc"]
        for one in made:
            await running.enter_async_context(one.cluster_events)
        for one in made:
            await one.until(lambda one=one: one.times_deaf == 1)
        yield made


@pytest.mark.parametrize(
    "news", ALL_SORTS, ids=lambda news: next(f.name for f in fields(ClusterEvent) if getattr(news, f.name))
)
async def test_what_one_tells_all_others_hear(three: list[Listener], news: ClusterEvent) -> None:
    """And not the one who told it: what comes after it comes alone."""
    a, b, c = three
    a.cluster_events.publish(news)
    await a.cluster_events.flush()
    await b.until(lambda: b.heard == news)
    await c.until(lambda: c.heard == news)
    after = ClusterEvent(queued=frozenset({"after"}))
    b.cluster_events.publish(after)
    await a.until(lambda: bool(a.heard.queued))
    assert a.heard == after


async def test_what_is_told_at_once_arrives_together_and_whole(three: list[Listener]) -> None:
    """All sorts in one breath, each word where it belongs."""
    a, b, _ = three
    whole = ClusterEvent()
    for news in ALL_SORTS:
        a.cluster_events.publish(news)
        whole = together(whole, news)
    await b.until(lambda: b.heard == whole)


async def test_more_than_one_message_can_hold_arrives(three: list[Listener]) -> None:
    """Five thousand numbers and as many long ids: PostgreSQL takes 8000 bytes at a time."""
    a, b, _ = three
    many = ClusterEvent(
        finished=frozenset(range(2**62, 2**62 + 50 * IDS_PER_MESSAGE)),
        cancelled=frozenset(f"{number:064}" for number in range(50 * IDS_PER_MESSAGE)),
    )
    a.cluster_events.publish(many)
    await b.until(lambda: b.heard == many)


async def test_after_a_break_they_look_again_and_hear_each_other(three: list[Listener], url: str) -> None:
    """What may have been missed is said once for each connection; the next news arrive as before."""
    a, b, c = three
    await execute(url, BREAK)
    for one in three:
        await one.until(lambda one=one: one.times_deaf == 2)
    a.cluster_events.publish(ALL_SORTS[2])
    await b.until(lambda: b.heard == ALL_SORTS[2])
    await c.until(lambda: c.heard == ALL_SORTS[2])


async def test_what_is_told_during_a_break_is_not_forgotten(url: str) -> None:
    """The teller keeps it until it can be sent."""
    a, b = Listener(url, "a"), Listener(url, "b")
    told = ClusterEvent(removed=frozenset(range(3 * IDS_PER_MESSAGE)))
    async with a.cluster_events:
        await a.until(lambda: a.times_deaf == 1)
        ((process,),) = await fetch(url, BREAK.replace("pg_terminate_backend(pid)", "pid"))
        async with b.cluster_events:
            await b.until(lambda: b.times_deaf == 1)
            await execute(url, f"SELECT pg_terminate_backend({process})")
            a.cluster_events.publish(told)
            await b.until(lambda: b.heard == told)
            assert b.times_deaf == 1


async def test_a_connection_that_ends_while_something_is_told_is_made_anew(url: str) -> None:
    """At whatever moment it ends: each time what was told arrives."""
    a, b = Listener(url, "a"), Listener(url, "b")
    ending: Any = await asyncpg.connect(url)  # one that is there already, so that hardly any time goes by
    async with b.cluster_events:
        await b.until(lambda: b.times_deaf == 1)
        async with a.cluster_events:
            for number in range(8):
                await a.until(lambda number=number: a.times_deaf == number + 1)
                (newest,) = await ending.fetch(NEWEST)
                await ending.execute(f"SELECT pg_terminate_backend({newest['pid']})")
                a.cluster_events.publish(ClusterEvent(poll_requested=frozenset({number})))
                await b.until(lambda number=number: number in b.heard.poll_requested)
    await ending.close()


async def test_news_of_which_this_version_knows_nothing_disturb_nobody(three: list[Listener], url: str) -> None:
    """As those of a newer one, while nodes are upgraded one after the other."""
    a, *_ = three
    await execute(url, """NOTIFY cambwatch, '{"from": "x", "weather": ["rain"]}'""")
    await execute(url, """NOTIFY cambwatch, '{"from": "x", "rebalance": true, "weather": true}'""")
    await a.until(lambda: a.heard == ClusterEvent(rebalance=True))


async def test_those_on_another_database_of_the_server_hear_nothing(
    three: list[Listener], postgres_server: str
) -> None:
    """A channel is a database's own."""
    a, b, _ = three
    stranger = Listener(postgres_server, "stranger")
    async with stranger.cluster_events:
        await stranger.until(lambda: stranger.times_deaf == 1)
        stranger.cluster_events.publish(ClusterEvent(rebalance=True))
        await stranger.cluster_events.flush()
        a.cluster_events.publish(replace(ALL_SORTS[0]))
        await b.until(lambda: bool(b.heard.queued))
    assert not b.heard.rebalance
    assert stranger.heard == ClusterEvent()


async def test_who_ends_leaves_no_connection_behind(url: str) -> None:
    """Also when it was just told something."""
    one = Listener(url, "a")
    async with one.cluster_events:
        await one.until(lambda: one.times_deaf == 1)
        one.cluster_events.publish(ClusterEvent(rebalance=True))

    async with asyncio.timeout(PATIENCE_S):
        query = (
            "SELECT 1 FROM pg_stat_activity WHERE application_name = 'cambwatch peers' AND datname = current_database()"
        )
        while await fetch(url, query):  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.02)


async def test_nobody_waits_long_to_be_heard_where_there_is_no_server() -> None:
    """As at the end of a process while the server is away; what was told is lost then, and ending takes no time."""
    cluster_events = PostgresClusterEvents("postgresql://u:p@127.0.0.1:1/x", "a")
    async with asyncio.timeout(PATIENCE_S), cluster_events:
        cluster_events.publish(ClusterEvent(rebalance=True))
        await cluster_events.flush()
