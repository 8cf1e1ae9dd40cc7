"""Who hears of what."""

import pytest
from event_samples import complete, ended, routed
from hypothesis import given
from hypothesis import strategies as st

from cambwatch.core.events import RoutedEvent
from cambwatch.core.model import Status
from cambwatch.core.routing import Condition, Route, destinations_for, matches

ALL = ("slack", "pipeline", "pager")
FAILED = Condition(statuses=frozenset({Status.ERROR, Status.TIMEOUT}))
ANY = Condition()


def test_without_routes_all_hear_everything() -> None:
    """Tasks and groups."""
    assert destinations_for(ended(), routes=[], destinations=ALL, notify=None) == ALL
    assert destinations_for(complete({"SUCCESS": 1}), routes=[], destinations=ALL, notify=None) == ALL


def test_every_matching_route_adds_its_destinations() -> None:
    """In the order of the configuration, each once."""
    routes = [Route(FAILED, ("pager", "slack")), Route(ANY, ("slack",)), Route(FAILED, ("pipeline",))]
    assert destinations_for(ended(Status.ERROR), routes=routes, destinations=ALL, notify=None) == ALL
    assert destinations_for(ended(), routes=routes, destinations=ALL, notify=None) == ("slack",)


def test_no_matching_route_means_nobody() -> None:
    """Routes that do not match are not the same as no routes."""
    assert destinations_for(ended(), routes=[Route(FAILED, ALL)], destinations=ALL, notify=None) == ()


def test_a_tasks_own_list_takes_the_place_of_the_routes() -> None:
    """An empty one means nobody."""
    routes = [Route(ANY, ALL)]
    assert destinations_for(ended(), routes=routes, destinations=ALL, notify=("pager",)) == ("pager",)
    assert destinations_for(ended(), routes=routes, destinations=ALL, notify=()) == ()
    assert destinations_for(ended(), routes=[], destinations=ALL, notify=()) == ()


def test_names_that_are_no_destination_are_left_out() -> None:
    """A destination may have gone since the task was registered."""
    assert destinations_for(ended(), routes=[], destinations=ALL, notify=("gone", "pager", "slack")) == (
        "slack",
        "pager",
    )
    assert destinations_for(ended(), routes=[Route(ANY, ("gone", "slack"))], destinations=ALL, notify=None) == (
        "slack",
    )


@pytest.mark.parametrize("status", [Status.REMOVED, Status.PENDING])
@pytest.mark.parametrize("notify", [None, ("slack",)])
def test_removal_is_told_to_nobody(status: Status, notify: tuple[str, ...] | None) -> None:
    """Nor that something is pending."""
    assert destinations_for(ended(status), routes=[], destinations=ALL, notify=notify) == ()
    assert destinations_for(ended(status), routes=[Route(ANY, ALL)], destinations=ALL, notify=notify) == ()


TASK = ended(Status.ERROR, kind="dub", account="a", group="g", labels={"team": "dubbing", "show": "pilot"})
GROUP = complete({"SUCCESS": 1}, group="g")
E_TASK = frozenset({"task"})
E_GROUP = frozenset({"group"})


@pytest.mark.parametrize(
    ("condition", "task", "group"),
    [
        (Condition(), True, True),
        (Condition(events=E_TASK), True, False),
        (Condition(events=E_GROUP), False, True),
        (Condition(events=E_TASK | E_GROUP), True, True),
        (Condition(statuses=frozenset({Status.ERROR})), True, False),
        (Condition(statuses=frozenset({Status.SUCCESS})), False, False),
        (Condition(kinds=frozenset({"dub", "tts"})), True, False),
        (Condition(kinds=frozenset({"tts"})), False, False),
        (Condition(accounts=frozenset({"a"})), True, False),
        (Condition(accounts=frozenset({"b"})), False, False),
        (Condition(labels={"team": "dubbing"}), True, False),
        (Condition(labels={"team": "dubbing", "show": "pilot"}), True, False),
        (Condition(labels={"team": "dubbing", "show": "other"}), False, False),
        (Condition(labels={"missing": "x"}), False, False),
        (Condition(groups=frozenset({"g"})), True, True),
        (Condition(groups=frozenset({"other"})), False, False),
        (Condition(events=E_GROUP, groups=frozenset({"g"})), False, True),
        (Condition(events=E_GROUP, groups=frozenset({"other"})), False, False),
        (Condition(events=E_TASK, groups=frozenset({"g"})), True, False),
        (Condition(events=E_TASK | E_GROUP, statuses=frozenset({Status.SUCCESS})), False, True),
        (Condition(statuses=frozenset({Status.ERROR}), kinds=frozenset({"tts"})), False, False),
    ],
)
def test_condition_holds_when_all_its_parts_do(condition: Condition, *, task: bool, group: bool) -> None:
    """What only tasks have keeps groups out, unless groups are asked for by name."""
    assert matches(condition, TASK) is task
    assert matches(condition, GROUP) is group


def test_task_of_no_group_matches_no_group() -> None:
    """Not even one that is called None."""
    assert not matches(Condition(groups=frozenset({"g"})), ended())


names = st.sampled_from([*ALL, "gone"])
routes = st.lists(st.builds(Route, condition=st.sampled_from([ANY, FAILED]), notify=st.lists(names).map(tuple)))


@given(routed, routes, st.none() | st.lists(names).map(tuple))
def test_who_hears_is_known_ordered_and_distinct(
    event: RoutedEvent, routes: list[Route], notify: tuple[str, ...] | None
) -> None:
    """For any event and any routes."""
    heard = destinations_for(event, routes=routes, destinations=ALL, notify=notify)
    assert heard == tuple(name for name in ALL if name in heard)
