"""What nodes tell each other through the server: it arrives, whole, at all others, and again after a break."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import fields, replace
from typing import Any

import asyncpg
import pytest

from cambwatch.adapters.store.cluster_events import AT_ONCE, ServerPeers
from cambwatch.core.cluster import News
from postgres_server import execute, fetch

PATIENCE_S = 15.0
ALL_SORTS = [
    News(owed=frozenset({"hook", "slack"})),
    News(hurry=frozenset({"hook"})),
    News(ended=frozenset({1, 2**62})),
    News(removed=frozenset({3})),
    News(asked=frozenset({4})),
    News(cancelled=frozenset({"msg_a", "msg_b"})),
    News(look=True),
    News(reload=True),
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
        self.peers = ServerPeers(url, name)
        self.heard = News()
        self.times_deaf = 0
        self._changed = asyncio.Event()
        self.peers.heard, self.peers.deaf = self._hear, self._miss

    def _hear(self, news: News) -> None:
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


def together(one: News, other: News) -> News:
    """All that either tells."""
    return News(**{field.name: getattr(one, field.name) | getattr(other, field.name) for field in fields(News)})


@pytest.fixture
async def three(url: str) -> AsyncIterator[list[Listener]]:
    """Three nodes that hear each other."""
    async with AsyncExitStack() as running:
        made = [Listener(url, name) for name in "abc"]
        for one in made:
            await running.enter_async_context(one.peers)
        for one in made:
            await one.until(lambda one=one: one.times_deaf == 1)
        yield made


@pytest.mark.parametrize(
    "news", ALL_SORTS, ids=lambda news: next(f.name for f in fields(News) if getattr(news, f.name))
)
async def test_what_one_tells_all_others_hear(three: list[Listener], news: News) -> None:
    """And not the one who told it: what comes after it comes alone."""
    a, b, c = three
    a.peers.tell(news)
    await a.peers.flush()
    await b.until(lambda: b.heard == news)
    await c.until(lambda: c.heard == news)
    after = News(owed=frozenset({"after"}))
    b.peers.tell(after)
    await a.until(lambda: bool(a.heard.owed))
    assert a.heard == after


async def test_what_is_told_at_once_arrives_together_and_whole(three: list[Listener]) -> None:
    """All sorts in one breath, each word where it belongs."""
    a, b, _ = three
    whole = News()
    for news in ALL_SORTS:
        a.peers.tell(news)
        whole = together(whole, news)
    await b.until(lambda: b.heard == whole)


async def test_more_than_one_message_can_hold_arrives(three: list[Listener]) -> None:
    """Five thousand numbers and as many long ids: PostgreSQL takes 8000 bytes at a time."""
    a, b, _ = three
    many = News(
        ended=frozenset(range(2**62, 2**62 + 50 * AT_ONCE)),
        cancelled=frozenset(f"{number:064}" for number in range(50 * AT_ONCE)),
    )
    a.peers.tell(many)
    await b.until(lambda: b.heard == many)


async def test_after_a_break_they_look_again_and_hear_each_other(three: list[Listener], url: str) -> None:
    """What may have been missed is said once for each connection; the next news arrive as before."""
    a, b, c = three
    await execute(url, BREAK)
    for one in three:
        await one.until(lambda one=one: one.times_deaf == 2)
    a.peers.tell(ALL_SORTS[2])
    await b.until(lambda: b.heard == ALL_SORTS[2])
    await c.until(lambda: c.heard == ALL_SORTS[2])


async def test_what_is_told_during_a_break_is_not_forgotten(url: str) -> None:
    """The teller keeps it until it can be sent."""
    a, b = Listener(url, "a"), Listener(url, "b")
    told = News(removed=frozenset(range(3 * AT_ONCE)))
    async with a.peers:
        await a.until(lambda: a.times_deaf == 1)
        ((process,),) = await fetch(url, BREAK.replace("pg_terminate_backend(pid)", "pid"))
        async with b.peers:
            await b.until(lambda: b.times_deaf == 1)
            await execute(url, f"SELECT pg_terminate_backend({process})")
            a.peers.tell(told)
            await b.until(lambda: b.heard == told)
            assert b.times_deaf == 1


async def test_a_connection_that_ends_while_something_is_told_is_made_anew(url: str) -> None:
    """At whatever moment it ends: each time what was told arrives."""
    a, b = Listener(url, "a"), Listener(url, "b")
    ending: Any = await asyncpg.connect(url)  # one that is there already, so that hardly any time goes by
    async with b.peers:
        await b.until(lambda: b.times_deaf == 1)
        async with a.peers:
            for number in range(8):
                await a.until(lambda number=number: a.times_deaf == number + 1)
                (newest,) = await ending.fetch(NEWEST)
                await ending.execute(f"SELECT pg_terminate_backend({newest['pid']})")
                a.peers.tell(News(asked=frozenset({number})))
                await b.until(lambda number=number: number in b.heard.asked)
    await ending.close()


async def test_news_of_which_this_version_knows_nothing_disturb_nobody(three: list[Listener], url: str) -> None:
    """As those of a newer one, while nodes are upgraded one after the other."""
    a, *_ = three
    await execute(url, """NOTIFY cambwatch, '{"from": "x", "weather": ["rain"]}'""")
    await execute(url, """NOTIFY cambwatch, '{"from": "x", "look": true, "weather": true}'""")
    await a.until(lambda: a.heard == News(look=True))


async def test_those_on_another_database_of_the_server_hear_nothing(
    three: list[Listener], postgres_server: str
) -> None:
    """A channel is a database's own."""
    a, b, _ = three
    stranger = Listener(postgres_server, "stranger")
    async with stranger.peers:
        await stranger.until(lambda: stranger.times_deaf == 1)
        stranger.peers.tell(News(look=True))
        await stranger.peers.flush()
        a.peers.tell(replace(ALL_SORTS[0]))
        await b.until(lambda: bool(b.heard.owed))
    assert not b.heard.look
    assert stranger.heard == News()


async def test_who_ends_leaves_no_connection_behind(url: str) -> None:
    """Also when it was just told something."""
    one = Listener(url, "a")
    async with one.peers:
        await one.until(lambda: one.times_deaf == 1)
        one.peers.tell(News(look=True))

    async with asyncio.timeout(PATIENCE_S):
        query = (
            "SELECT 1 FROM pg_stat_activity WHERE application_name = 'cambwatch peers' AND datname = current_database()"
        )
        while await fetch(url, query):  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.02)


async def test_nobody_waits_long_to_be_heard_where_there_is_no_server() -> None:
    """As at the end of a process while the server is away; what was told is lost then, and ending takes no time."""
    peers = ServerPeers("postgresql://u:p@127.0.0.1:1/x", "a")
    async with asyncio.timeout(PATIENCE_S), peers:
        peers.tell(News(look=True))
        await peers.flush()
