"""How nodes that share one database share the work: pure decisions, which each of them takes alike."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

REBALANCE_SLACK = 0.1  # of its share that a node may hold beyond it, before it gives any back
MIN_REBALANCED_TASKS = 10  # tasks: to move fewer is not worth it


@dataclass(frozen=True, slots=True)
class ClusterNode:
    """A process that is alive, by its id, whose tasks it can ask for and to whom it can post."""

    id: str
    accounts: frozenset[str]
    destinations: frozenset[str]


@dataclass(frozen=True, slots=True)
class ClusterSnapshot:
    """
    Who is there and who holds what, at one moment.

    *nodes* are those whose lease runs. *tasks* are the numbers of pending tasks by
    account and the id of their node, None where there is none; *destination_leases* the ids by
    destination, likewise. *next_lease_end_s* is when the first lease of another node runs out,
    in seconds from now, None where there is no other.
    """

    nodes: Sequence[ClusterNode]
    tasks: Mapping[tuple[str, str | None], int]
    destination_leases: Mapping[str, str | None]
    next_lease_end_s: float | None = None

    def gone(self) -> frozenset[str]:
        """The ids under which something is held by a node that is not there."""
        holders = {node for _, node in self.tasks} | set(self.destination_leases.values())
        return frozenset(holder for holder in holders if holder is not None) - {node.id for node in self.nodes}


@dataclass(frozen=True, slots=True)
class LeasePlan:
    """
    What one node is to do: *acquire* and *release* so many tasks by account, and destinations.

    Among *acquire_destinations* are those that it holds already. *nodes_sharing* is among how many nodes
    each account's budget is divided.
    """

    acquire: Mapping[str, int]
    release: Mapping[str, int]
    acquire_destinations: frozenset[str]
    release_destinations: frozenset[str]
    nodes_sharing: Mapping[str, int]


def plan_leases(snapshot: ClusterSnapshot, this_node: ClusterNode) -> LeasePlan:
    """
    What *this_node* is to do where things stand so.

    The tasks of an account are shared evenly among the nodes that have it: a node takes
    what no node holds up to its share, and gives back what it holds of more than its
    share and REBALANCE_SLACK, and all of an account that it does not have any more. All shares
    together are no less than all tasks, so none is left over.
    All nodes agree on the one node that posts to a destination: see preferred_node().
    """
    nodes_sharing = {account: _count_nodes_with(account, snapshot.nodes) or 1 for account in this_node.accounts}
    acquire, release = {}, {}
    here = {node.id for node in snapshot.nodes}
    for account in sorted(this_node.accounts):
        total = sum(count for (whose, _), count in snapshot.tasks.items() if whose == account)
        free = sum(count for (whose, node), count in snapshot.tasks.items() if whose == account and node not in here)
        mine = snapshot.tasks.get((account, this_node.id), 0)
        share = -(-total // nodes_sharing[account])
        if free and mine < share:
            acquire[account] = min(free, share - mine)
        elif mine - share > max(share * REBALANCE_SLACK, MIN_REBALANCED_TASKS):
            release[account] = mine - share
    for (account, node), count in snapshot.tasks.items():
        if node == this_node.id and account not in this_node.accounts:  # a reload has taken it away
            release[account] = count
    known = this_node.destinations | snapshot.destination_leases.keys()
    destination_leases = {name: preferred_node(name, snapshot.nodes) for name in known}
    return LeasePlan(
        acquire=acquire,
        release=release,
        acquire_destinations=frozenset(
            name
            for name, node in destination_leases.items()
            if node == this_node.id and snapshot.destination_leases.get(name) not in here - {this_node.id}
        ),
        release_destinations=frozenset(
            name
            for name, node in destination_leases.items()
            if node != this_node.id and snapshot.destination_leases.get(name) == this_node.id
        ),
        nodes_sharing=nodes_sharing,
    )


def preferred_node(destination: str, nodes: Collection[ClusterNode]) -> str | None:
    """
    The id of the node that is to post to *destination*; None where none of *nodes* can.

    By highest random weight (Thaler and Ravishankar, 1998): when a node comes or goes,
    only its own destinations move.
    """
    able = [node.id for node in nodes if destination in node.destinations]
    return max(able, key=lambda node: sha256(f"{node}\0{destination}".encode()).digest(), default=None)


def _count_nodes_with(account: str, nodes: Collection[ClusterNode]) -> int:
    return sum(account in node.accounts for node in nodes)


@dataclass(frozen=True, slots=True)
class ClusterEvent:
    """
    What one node publishes to the others, which also check regularly by themselves.

    Destinations that are *queued* something now, or are to be retried now at the operator's request
    (*retry_now*); ids of tasks that *finished*, were *removed*, or are to be *poll_requested* for now; ids
    of deliveries that were *cancelled*; that there is something to take (*rebalance*); that the
    configuration was read again (*reload*).
    """

    queued: frozenset[str] = frozenset()
    retry_now: frozenset[str] = frozenset()
    finished: frozenset[int] = frozenset()
    removed: frozenset[int] = frozenset()
    poll_requested: frozenset[int] = frozenset()
    cancelled: frozenset[str] = frozenset()
    rebalance: bool = False
    reload: bool = False
