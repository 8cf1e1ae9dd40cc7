"""
Every statement about nodes: who is there, what each holds, and how it changes hands. For PostgreSQL.

A lease is a node's, not a task's: what a node holds is marked with its id, and the id
is good for as long as its lease is renewed. So to renew a hundred thousand is to write
one row. Instants are by the database's own clock, because those of the nodes may differ.
Each is a transaction of its own: with ends and attempts in the same one, two nodes could
wait for each other.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from cambwatch.adapters.store import row_mapping
from cambwatch.adapters.store.breakers import breakers
from cambwatch.adapters.store.database import Database, T, Work
from cambwatch.adapters.store.postgres import application_name_of
from cambwatch.adapters.store.row_mapping import padded, span_to_micros
from cambwatch.adapters.store.schema import TASK_PENDING, destination_leases, nodes, tasks
from cambwatch.core.cluster import ClusterNode, ClusterSnapshot
from cambwatch.core.delivery.breaker import Breaker
from cambwatch.core.model import Task

RENEWAL_GRACE_S = (
    1.0  # that a node may take to renew what has run out, before it counts as frozen in the middle of that
)

# Built once: to build a statement takes SQLAlchemy longer than it takes the database to run it.
_NOW = sa.cast(sa.func.extract("epoch", sa.func.clock_timestamp()) * 1_000_000, sa.BigInteger)
_LEASE: sa.BindParameter[int] = sa.bindparam("lease", type_=sa.BigInteger)
_NODE_ID: sa.BindParameter[str] = sa.bindparam("me", type_=sa.Text)
_OWN_ROW = sa.and_(nodes.c.id == _NODE_ID, nodes.c.left.is_(sa.false()))
_IN_TIME = sa.select(nodes.c.leased_until >= _NOW).where(_OWN_ROW).with_for_update()
_RENEW = sa.update(nodes).where(_OWN_ROW).values(leased_until=_NOW + _LEASE)
# Not one that is renewing at this very moment, and not this one, however long the statement has to wait.
_EXPIRED_NODES = (
    sa.select(nodes.c.id)
    .where(nodes.c.left.is_(sa.false()), nodes.c.leased_until < _NOW, nodes.c.id != _NODE_ID)
    .with_for_update(skip_locked=True)
    .cte("late")
)
_MARK_GONE = sa.update(nodes).where(nodes.c.id == _EXPIRED_NODES.c.id).values(left=True)
# Those taken for gone, and those whose row is locked though they are late: by themselves, in a transaction that goes on
# for as long as they are frozen. Who has left in good order has not run out.
_EXPIRED = sa.select(nodes.c.id).where(
    nodes.c.leased_until < _NOW - sa.case((nodes.c.left, 0), else_=round(RENEWAL_GRACE_S * 1_000_000)),
    nodes.c.id != _NODE_ID,
)
_SESSIONS = sa.table("pg_stat_activity", *map(sa.column, ("pid", "datname", "usename", "application_name")))
_TERMINATE_SESSIONS = sa.select(sa.func.pg_terminate_backend(_SESSIONS.c.pid)).where(
    _SESSIONS.c.application_name.in_(sa.bindparam("names", expanding=True)),
    _SESSIONS.c.datname == sa.func.current_database(),
    _SESSIONS.c.usename == sa.func.current_user(),  # others' may not be ended
)
_LIVE_NODES = sa.select(nodes, (nodes.c.leased_until - _NOW).label("rest")).where(nodes.c.left.is_(sa.false()))
_COUNTS = (
    sa.select(tasks.c.account, tasks.c.node, sa.func.count())
    .where(TASK_PENDING)
    .group_by(tasks.c.account, tasks.c.node)
)
_DESTINATION_LEASES = sa.select(destination_leases)
_DELETE_NODES = sa.delete(nodes).where(
    nodes.c.left,
    ~sa.exists().where(tasks.c.node == nodes.c.id, TASK_PENDING),
    ~sa.exists().where(destination_leases.c.node == nodes.c.id),
)
_LEAVE = sa.update(nodes).where(nodes.c.id == _NODE_ID).values(left=True)
# No other node can declare this one gone until the transaction is over.
_LOCK_OWN_ROW = sa.select(nodes.c.id).where(_OWN_ROW).with_for_update(read=True)
_LIMIT = sa.bindparam("most", type_=sa.Integer)


def _acquire_statement(free: sa.ColumnElement[bool]) -> sa.UpdateBase:
    chosen = (
        sa.select(tasks.c.id)
        .where(TASK_PENDING, tasks.c.account == sa.bindparam("whose"), free)
        .order_by(tasks.c.id)
        .limit(_LIMIT)
        .with_for_update(skip_locked=True)
        .cte("chosen")
    )
    return sa.update(tasks).where(tasks.c.id == chosen.c.id).values(node=_NODE_ID).returning(*tasks.c)


_ACQUIRE_FREE = _acquire_statement(tasks.c.node.is_(None))
_ACQUIRE_FROM = _acquire_statement(tasks.c.node == sa.bindparam("gone"))
_SURPLUS = (
    sa.select(tasks.c.id)
    .where(TASK_PENDING, tasks.c.node == _NODE_ID, tasks.c.account == sa.bindparam("whose"))
    .order_by(tasks.c.id.desc())
    .limit(_LIMIT)
    .with_for_update(skip_locked=True)
    .cte("surplus")
)
_RELEASE = sa.update(tasks).where(tasks.c.id == _SURPLUS.c.id).values(node=None).returning(tasks.c.id)
_LEASED = (
    sa.select(tasks)
    .where(TASK_PENDING, tasks.c.node == _NODE_ID, tasks.c.id > sa.bindparam("after", type_=sa.BigInteger))
    .order_by(tasks.c.id)
    .limit(_LIMIT)
)
_RELEASE_DESTINATIONS = (
    sa.update(destination_leases)
    .where(
        destination_leases.c.node == _NODE_ID,
        destination_leases.c.destination.in_(sa.bindparam("names", expanding=True)),
    )
    .values(node=None)
)


class LeaseStore:
    """What the node *node* holds, and who else is there."""

    def __init__(self, database: Database, node: ClusterNode, *, lease: timedelta) -> None:
        self._database = database
        self._node = node
        self._id = {"me": node.id}
        self._lease = {"me": node.id, "lease": span_to_micros(lease)}
        # A node that died in a transaction may hold a lock for minutes: renewal must not wait for it.
        self._lock_timeout = sa.text(f"SET LOCAL lock_timeout = {max(round(lease.total_seconds() * 1000 / 6), 100)}")

    async def _write(self, work: Work[T]) -> T:
        def with_lock_timeout(connection: sa.Connection) -> T:
            connection.execute(self._lock_timeout)
            return work(connection)

        return await self._database.write_unbatched(with_lock_timeout)

    async def join(self) -> None:
        """Be there, for the length of a lease; a node that was there before, and has not lost it, still is."""
        node = self._node
        known = {"accounts": sorted(node.accounts), "destinations": sorted(node.destinations)}
        row = insert(nodes).values(id=node.id, joined_at=_NOW, leased_until=_NOW + _LEASE, left=False, **known)
        row = row.on_conflict_do_update(index_elements=["id"], set_=known)

        await self._write(lambda connection: connection.execute(row, self._lease).close())

    async def renew(self) -> ClusterSnapshot | None:
        """
        Hold everything for another lease, and see how things stand; None: it was lost, all of it, for ever.

        Takes note of who else has lost theirs, and ends their sessions, which may hold locks.
        A node that is itself too late, because the database could not be had, does not:
        others may be as late for the same reason.
        """

        def work(connection: sa.Connection) -> ClusterSnapshot | None:
            in_time = connection.execute(_IN_TIME, self._id).scalar()
            if in_time is None:
                return None
            connection.execute(_RENEW, self._lease)
            if in_time:
                connection.execute(_MARK_GONE, self._id)
                _terminate_sessions(connection, connection.execute(_EXPIRED, self._id).scalars().all())
                connection.execute(_DELETE_NODES)
            live = connection.execute(_LIVE_NODES).all()
            return ClusterSnapshot(
                [ClusterNode(row.id, frozenset(row.accounts), frozenset(row.destinations)) for row in live],
                tasks={(account, node): count for account, node, count in connection.execute(_COUNTS)},
                destination_leases={row.destination: row.node for row in connection.execute(_DESTINATION_LEASES)},
                next_lease_end_s=min((row.rest / 1e6 for row in live if row.id != self._node.id), default=None),
            )

        return await self._write(work)

    async def acquire(self, account: str, most: int, *, gone: Collection[str]) -> list[Task]:
        """Acquire up to *most* tasks of *account* that no node or one of *gone* holds."""

        def work(connection: sa.Connection) -> list[Task]:
            if connection.execute(_LOCK_OWN_ROW, self._id).first() is None:
                return []
            found: list[Task] = []
            wanted = {"whose": account, "me": self._node.id}
            for holder in (None, *sorted(gone)):
                if len(found) < most:
                    limit = {"most": most - len(found)}
                    acquired = (
                        connection.execute(_ACQUIRE_FREE, wanted | limit)
                        if holder is None
                        else connection.execute(_ACQUIRE_FROM, wanted | limit | {"gone": holder})
                    )
                    found += [row_mapping.task(row) for row in acquired]
            return found

        return await self._write(work)

    async def release(self, account: str, most: int) -> list[int]:
        """Hold up to *most* tasks of *account* no longer; returns their ids."""
        wanted = {"whose": account, "most": most, "me": self._node.id}
        return await self._write(lambda connection: list(connection.execute(_RELEASE, wanted).scalars()))

    async def held(self, *, after: int, most: int) -> list[Task]:
        """Up to *most* tasks that this node holds, by their ids, which are higher than *after*."""
        wanted = {"after": after, "most": most, "me": self._node.id}
        return await self._database.read(
            lambda connection: [row_mapping.task(row) for row in connection.execute(_LEASED, wanted)]
        )

    async def acquire_destinations(self, destinations: Collection[str], *, gone: Collection[str]) -> Sequence[str]:
        """Acquire those of *destinations* that no node or one of *gone* holds."""
        free = sa.or_(
            destination_leases.c.node.is_(None),
            destination_leases.c.node.in_(sorted(gone)),
            destination_leases.c.node == self._node.id,
        )
        acquire = insert(destination_leases).values(
            [{"destination": name, "node": self._node.id} for name in sorted(destinations)]
        )
        acquire = acquire.on_conflict_do_update(
            index_elements=["destination"], set_={"node": self._node.id}, where=free
        )

        def work(connection: sa.Connection) -> Sequence[str]:
            if connection.execute(_LOCK_OWN_ROW, self._id).first() is None:
                return []
            return list(connection.execute(acquire.returning(destination_leases.c.destination)).scalars())

        return await self._write(work)

    async def release_destinations(self, destinations: Collection[str]) -> None:
        """Hold *destinations* no longer."""
        wanted = {"names": sorted(destinations), "me": self._node.id}
        await self._write(lambda connection: connection.execute(_RELEASE_DESTINATIONS, wanted).close())

    async def breakers(self) -> Mapping[str, Breaker]:
        """The breakers of all destinations, as the nodes that post to them wrote them."""
        return await self._database.read(breakers)

    async def leave(self) -> None:
        """Be there no more: others may take everything at once."""
        await self._write(lambda connection: connection.execute(_LEAVE, self._id).close())


def _terminate_sessions(connection: sa.Connection, gone: Sequence[str]) -> None:
    """
    End the sessions of the nodes *gone*.

    The server frees by itself what a session has locked that is idle in a transaction,
    but never of one that waits for the rest of a statement: see IDLE_IN_TRANSACTION_MS.
    """
    if gone:
        connection.execute(_TERMINATE_SESSIONS, {"names": padded([application_name_of(node) for node in gone])})
