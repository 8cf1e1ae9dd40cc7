"""How nodes that share one database share the work: pure decisions, which each of them takes alike."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

SLACK = 0.1  # of its share that a node may hold beyond it, before it gives any back
LEAST_SLACK = 10  # tasks: to move fewer is not worth it


@dataclass(frozen=True, slots=True)
class Node:
    """A process that is alive, by its id, whose tasks it can ask for and to whom it can post."""

    id: str
    accounts: frozenset[str]
    destinations: frozenset[str]


@dataclass(frozen=True, slots=True)
class Standing:
    """
    Who is there and who holds what, at one moment.

    *nodes* are those whose lease runs. *tasks* are the numbers of pending tasks by
    account and the id of their node, None where there is none; *lanes* the ids by
    destination, likewise. *next_end_s* is when the first lease of another node runs out,
    in seconds from now, None where there is no other.
    """

    nodes: Sequence[Node]
    tasks: Mapping[tuple[str, str | None], int]
    lanes: Mapping[str, str | None]
    next_end_s: float | None = None

    def gone(self) -> frozenset[str]:
        """The ids under which something is held by a node that is not there."""
        holders = {node for _, node in self.tasks} | set(self.lanes.values())
        return frozenset(holder for holder in holders if holder is not None) - {node.id for node in self.nodes}


@dataclass(frozen=True, slots=True)
class Plan:
    """
    What one node is to do: *take* and *give_back* so many tasks by account, lanes by destination.

    Among *take_lanes* are those that it holds already. *parts* is among how many nodes
    each account's budget is divided.
    """

    take: Mapping[str, int]
    give_back: Mapping[str, int]
    take_lanes: frozenset[str]
    give_back_lanes: frozenset[str]
    parts: Mapping[str, int]


def plan(standing: Standing, me: Node) -> Plan:
    """
    What *me* is to do where things stand so.

    The tasks of an account are shared evenly among the nodes that have it: a node takes
    what nobody holds up to its share, and gives back what it holds of more than its
    share and SLACK, and all of an account that it does not have any more. All shares
    together are no less than all tasks, so none is left over.
    A lane has one rightful node, which all agree on, see rightful().
    """
    parts = {account: _those_with(account, standing.nodes) or 1 for account in me.accounts}
    take, give_back = {}, {}
    here = {node.id for node in standing.nodes}
    for account in sorted(me.accounts):
        total = sum(count for (whose, _), count in standing.tasks.items() if whose == account)
        free = sum(count for (whose, node), count in standing.tasks.items() if whose == account and node not in here)
        mine = standing.tasks.get((account, me.id), 0)
        share = -(-total // parts[account])
        if free and mine < share:
            take[account] = min(free, share - mine)
        elif mine - share > max(share * SLACK, LEAST_SLACK):
            give_back[account] = mine - share
    for (account, node), count in standing.tasks.items():
        if node == me.id and account not in me.accounts:  # a reload has taken it away
            give_back[account] = count
    known = me.destinations | standing.lanes.keys()
    lanes = {name: rightful(name, standing.nodes) for name in known}
    return Plan(
        take=take,
        give_back=give_back,
        take_lanes=frozenset(
            name for name, node in lanes.items() if node == me.id and standing.lanes.get(name) not in here - {me.id}
        ),
        give_back_lanes=frozenset(
            name for name, node in lanes.items() if node != me.id and standing.lanes.get(name) == me.id
        ),
        parts=parts,
    )


def rightful(destination: str, nodes: Collection[Node]) -> str | None:
    """
    The id of the node that is to post to *destination*; None where none of *nodes* can.

    By highest random weight (Thaler and Ravishankar, 1998): when a node comes or goes,
    only its own lanes move.
    """
    able = [node.id for node in nodes if destination in node.destinations]
    return max(able, key=lambda node: sha256(f"{node}\0{destination}".encode()).digest(), default=None)


def _those_with(account: str, nodes: Collection[Node]) -> int:
    return sum(account in node.accounts for node in nodes)


@dataclass(frozen=True, slots=True)
class News:
    """
    What one node tells the others, who look by themselves now and then as well.

    Destinations that are *owed* something now, or are to be tried now at somebody's wish
    (*hurry*); ids of tasks that *ended*, were *removed*, or are to be *asked* for now; ids
    of deliveries that were *cancelled*; that there is something to take (*look*); that the
    configuration was read again (*reload*).
    """

    owed: frozenset[str] = frozenset()
    hurry: frozenset[str] = frozenset()
    ended: frozenset[int] = frozenset()
    removed: frozenset[int] = frozenset()
    asked: frozenset[int] = frozenset()
    cancelled: frozenset[str] = frozenset()
    look: bool = False
    reload: bool = False
