"""How nodes divide the work: each decides alone, and together it comes out even."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from cambwatch.core.cluster import (
    MIN_REBALANCED_TASKS,
    REBALANCE_SLACK,
    ClusterNode,
    ClusterSnapshot,
    LeasePlan,
    plan_leases,
    preferred_node,
)

NAMES = ["a", "b", "c", "d"]
DESTINATIONS = ["hook", "slack", "teams"]
GONE = "gone"


def node(name: str, accounts: str = "x", destinations: tuple[str, ...] = ("hook",)) -> ClusterNode:
    return ClusterNode(name, frozenset(accounts), frozenset(destinations))


def test_the_only_node_takes_everything() -> None:
    """What nobody holds, and what somebody holds who is gone."""
    me = node("a")
    standing = ClusterSnapshot([me], {("x", None): 5, ("x", GONE): 7, ("x", "a"): 1}, {"hook": GONE})
    assert standing.gone() == {GONE}
    assert plan_leases(standing, me) == LeasePlan({"x": 12}, {}, frozenset({"hook"}), frozenset(), {"x": 1})


def test_a_node_takes_no_more_than_its_share() -> None:
    """Of thirty for three, ten."""
    me = node("a")
    standing = ClusterSnapshot([me, node("b"), node("c")], {("x", None): 30}, {})
    assert plan_leases(standing, me).acquire == {"x": 10}
    assert plan_leases(standing, me).nodes_sharing == {"x": 3}


def test_a_node_gives_back_what_is_more_than_its_share_and_some() -> None:
    """When another has joined; a few too many are not worth it."""
    me = node("a")
    assert plan_leases(ClusterSnapshot([me, node("b")], {("x", "a"): 1000}, {}), me).release == {"x": 500}
    assert plan_leases(ClusterSnapshot([me, node("b")], {("x", "a"): 540, ("x", "b"): 460}, {}), me).release == {}
    assert plan_leases(ClusterSnapshot([me, node("b")], {("x", "a"): 20}, {}), me).release == {}


def test_an_account_is_divided_among_those_that_have_it() -> None:
    """Another node changes nothing of that."""
    me = node("a", accounts="xy")
    found = plan_leases(ClusterSnapshot([me, node("b")], {("x", None): 10, ("y", None): 10}, {}), me)
    assert (found.acquire, found.nodes_sharing) == ({"x": 5, "y": 10}, {"x": 2, "y": 1})


def test_a_lane_is_only_taken_by_its_rightful_node_and_only_when_it_is_free() -> None:
    """All agree on who that is; who holds it without right gives it back."""
    nodes = [node("a"), node("b")]
    one = preferred_node("hook", nodes)
    assert one is not None
    (other,) = {"a", "b"} - {one}
    for me in nodes:
        free = plan_leases(ClusterSnapshot(nodes, {}, {}), me)
        assert free.acquire_destinations == ({"hook"} if me.id == one else frozenset())
        held = plan_leases(ClusterSnapshot(nodes, {}, {"hook": other}), me)
        assert held.acquire_destinations == frozenset()
        assert held.release_destinations == ({"hook"} if me.id == other else frozenset())


def test_a_node_takes_up_again_the_lane_that_it_holds_by_what_is_written_down() -> None:
    """As after a reload, which begins out of the database."""
    me = node("a")
    assert plan_leases(ClusterSnapshot([me], {}, {"hook": "a"}), me).acquire_destinations == {"hook"}


def test_when_a_node_comes_only_its_own_lanes_move() -> None:
    """A hundred destinations, four nodes, then five."""
    names = [f"destination-{number}" for number in range(100)]
    four = [node(name, destinations=tuple(names)) for name in "abcd"]
    five = [*four, node("e", destinations=tuple(names))]
    moved = [name for name in names if preferred_node(name, four) != preferred_node(name, five)]
    assert all(preferred_node(name, five) == "e" for name in moved)
    assert 5 <= len(moved) <= 40


def test_nobody_is_rightful_where_nobody_can_post() -> None:
    """It waits until somebody can."""
    assert preferred_node("hook", [node("a", destinations=())]) is None


nodes = st.lists(
    st.builds(
        ClusterNode,
        st.sampled_from(NAMES),
        st.frozensets(st.sampled_from("xyz")),
        st.frozensets(st.sampled_from(DESTINATIONS)),
    ),
    unique_by=lambda one: one.id,
    min_size=1,
)
holdings = st.dictionaries(
    st.tuples(st.sampled_from("xyz"), st.sampled_from([None, GONE, *NAMES])), st.integers(1, 400), max_size=12
)
destination_leases = st.dictionaries(st.sampled_from(DESTINATIONS), st.sampled_from([None, GONE, *NAMES]))


@given(nodes=nodes, tasks=holdings, held=destination_leases, order=st.randoms(use_true_random=False))
def test_it_comes_to_rest_with_everything_held_and_even(nodes, tasks, held, order) -> None:
    """Whoever acts when, on what stands then: what anybody can serve is served, evenly, and then nothing moves."""
    tasks, held = Counter(tasks), dict(held)
    before = Counter(account for (account, _), count in tasks.items() for _ in range(count))
    for _ in range(12):
        quiet = True
        for me in order.sample(nodes, len(nodes)):
            standing = ClusterSnapshot(nodes, +tasks, held)
            found = plan_leases(standing, me)
            here = {one.id for one in nodes}
            for account, count in found.acquire.items():
                left = count
                for holder in [None, *sorted(standing.gone())]:
                    some = min(left, tasks[account, holder])
                    tasks[account, holder] -= some
                    tasks[account, me.id] += some
                    left -= some
                assert left == 0
                quiet = False
            for account, count in found.release.items():
                tasks[account, me.id] -= count
                tasks[account, None] += count
                quiet = False
            for name in found.acquire_destinations:
                assert held.get(name) not in here - {me.id}
                quiet &= held.get(name) == me.id
                held[name] = me.id
            for name in found.release_destinations:
                held[name] = None
                quiet = False
        if quiet:
            break
    else:
        raise AssertionError("it does not come to rest")
    assert before == Counter(account for (account, _), count in tasks.items() for _ in range(count))
    for account in "xyz":
        able = [one.id for one in nodes if account in one.accounts]
        if able:
            total = sum(count for (whose, _), count in tasks.items() if whose == account)
            share = -(-total // len(able))
            assert sum(tasks[account, one] for one in able) == total
            assert all(
                tasks[account, one] <= share + max(share * REBALANCE_SLACK, MIN_REBALANCED_TASKS) for one in able
            )
    for name in DESTINATIONS:
        assert held.get(name) == preferred_node(name, nodes) or preferred_node(name, nodes) is None
