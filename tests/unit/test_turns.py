"""Durations are learned in the order in which tasks began."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cambwatch.core.cadence.histogram import MIN_COMPLETIONS, Completion, DurationHistogram
from cambwatch.core.cadence.start_order import (
    MAX_START_AGE_S,
    PASS_OVER_FACTOR,
    LateCompletion,
    OrderedCompletion,
    StartEntry,
    StartOrder,
    StillPending,
)


@dataclass
class Seen:
    """What polls have shown."""

    pending_at_s: float | None = None


def begun(turns: StartOrder, count: int, *, since_s: float = 0.0, seen: Seen | None = None) -> list[StartEntry]:
    return [turns.add(f"{number}", since_s, seen or Seen(), now_s=since_s) for number in range(count)]


def close(
    turns: StartOrder,
    start_entry: StartEntry,
    ended_s: float | None = 10.0,
    *,
    now_s: float = 10.0,
    usual_s: float | None = 100.0,
) -> list[OrderedCompletion | LateCompletion | StillPending]:
    completion = None if ended_s is None else Completion(ended_s - 1, ended_s)
    return list(turns.close(start_entry, completion, now_s=now_s, usual_s=usual_s))


def test_a_task_waits_for_those_that_began_before() -> None:
    """Then all come, in that order."""
    turns = StartOrder()
    first, second, third = begun(turns, 3)
    assert close(turns, third, 3) == []
    assert close(turns, second, 5) == []
    found = close(turns, first, 9)
    assert found == [
        OrderedCompletion("0", Completion(8, 9)),
        OrderedCompletion("1", Completion(4, 5)),
        OrderedCompletion("2", Completion(2, 3)),
    ]


def test_one_of_which_nothing_can_be_learned_holds_up_nobody() -> None:
    """Such as one that a user removed."""
    turns = StartOrder()
    first, second = begun(turns, 2)
    close(turns, second, 5)
    assert close(turns, first, None) == [OrderedCompletion("1", Completion(4, 5))]


def test_settling_again_changes_nothing() -> None:
    """Neither before its turn nor behind."""
    turns = StartOrder()
    first, second = begun(turns, 2)
    close(turns, second, 5)
    assert close(turns, second, 6) == []
    assert close(turns, first, 9) == [
        OrderedCompletion("0", Completion(8, 9)),
        OrderedCompletion("1", Completion(4, 5)),
    ]
    assert close(turns, first, 9) == close(turns, second, None) == []


def test_one_that_takes_very_long_is_passed_over() -> None:
    """Beyond patience, and told of as such; what it took in the end comes late, with how many came before it."""
    turns, seen = StartOrder(), Seen(pending_at_s=PASS_OVER_FACTOR * 100 + 0.5)
    for start_entry in begun(turns, 3):
        close(turns, start_entry)
    (slow,) = begun(turns, 1, seen=seen)
    others = begun(turns, 3, since_s=150)
    assert close(turns, others[0], 50, now_s=PASS_OVER_FACTOR * 100) == []
    assert close(turns, others[1], 51, now_s=PASS_OVER_FACTOR * 100 + 1) == [
        StillPending("0", PASS_OVER_FACTOR * 100),
        OrderedCompletion("0", Completion(49, 50)),
        OrderedCompletion("1", Completion(50, 51)),
    ]
    assert close(turns, slow, 900, now_s=900) == [LateCompletion("0", Completion(899, 900), behind=2)]
    assert close(turns, others[2], 52, now_s=901) == [OrderedCompletion("2", Completion(51, 52))]


@pytest.mark.parametrize("pending_s", [None, 0.0, PASS_OVER_FACTOR * 100 - 1])
def test_an_outage_is_no_sign_that_tasks_take_longer(pending_s: float | None) -> None:
    """A task about which Camb gave no answer lately is passed over without a word."""
    turns = StartOrder()
    begun(turns, 5, seen=Seen(pending_s))
    (quick,) = begun(turns, 1, since_s=990)
    assert close(turns, quick, 10, now_s=1000) == [OrderedCompletion("0", Completion(9, 10))]


def test_where_nothing_is_known_those_in_the_line_say_what_is_usual() -> None:
    """As soon as there are enough; until then the first may take as long as it likes."""
    turns = StartOrder()
    begun(turns, 1, seen=Seen(1e9))
    others = begun(turns, MIN_COMPLETIONS)
    for start_entry in others[:-1]:
        assert close(turns, start_entry, 10, now_s=1e6, usual_s=None) == []
    found = close(turns, others[-1], 10, now_s=1e6, usual_s=None)
    assert found[0] == StillPending("0", PASS_OVER_FACTOR * 10)
    assert len(found) == 1 + MIN_COMPLETIONS


@pytest.mark.parametrize(("age_s", "found"), [(MAX_START_AGE_S, 2), (MAX_START_AGE_S + 0.1, 1)])
def test_one_that_was_under_way_already_is_not_learned(age_s: float, found: int) -> None:
    """It outlasted others that nobody has seen end; nor does it hold up those that come after it."""
    turns = StartOrder()
    earlier = turns.add("earlier", 100 - age_s, Seen(), now_s=100)
    (later,) = begun(turns, 1, since_s=100)
    told = close(turns, later, 10, now_s=110)
    assert [
        one.size for one in [*told, *close(turns, earlier, 20, now_s=120)] if isinstance(one, OrderedCompletion)
    ] == [
        "earlier",
        "0",
    ][-found:]


@given(
    st.lists(st.tuples(st.floats(0, 1000), st.floats(0.1, 500), st.booleans()), max_size=40).map(sorted),
    st.none() | st.floats(1, 300),
)
def test_every_completion_is_learned_once_and_in_turn(
    tasks: list[tuple[float, float, bool]], usual_s: float | None
) -> None:
    """Whatever the order of the ends, as soon as nobody is waited for."""
    line = StartOrder()
    turns = [line.add(f"{number}", since_s, Seen(1e9), now_s=since_s) for number, (since_s, _, _) in enumerate(tasks)]
    found: list[OrderedCompletion | LateCompletion | StillPending] = []
    for number in sorted(range(len(tasks)), key=lambda index: tasks[index][0] + tasks[index][1]):
        since_s, took_s, learnt = tasks[number]
        found += close(line, turns[number], took_s if learnt else None, now_s=since_s + took_s, usual_s=usual_s)
    told = [int(one.size or 0) for one in found if not isinstance(one, StillPending)]
    assert sorted(told) == [number for number, (_, _, learnt) in enumerate(tasks) if learnt]
    in_turn = [int(one.size or 0) for one in found if isinstance(one, OrderedCompletion)]
    assert in_turn == sorted(in_turn)
    late = {one.size for one in found if isinstance(one, LateCompletion)}
    assert late <= {one.size for one in found if isinstance(one, StillPending)}


def known(duration_s: float, count: int = 100) -> DurationHistogram:
    durations = DurationHistogram()
    for _ in range(count):
        durations.record(Completion(duration_s, duration_s))
    return durations


def test_tasks_that_outlast_the_usual_raise_the_alarm() -> None:
    """As those do that have ended late; what is remembered is dropped, because nothing of it fits."""
    durations = known(60)
    alarms = [durations.record_still_pending(300) for _ in range(12)]
    assert alarms.count(True) == 1
    assert durations.completions == 0
    assert durations.newest == ()
    assert durations.quantile_s(0.5) is None


def test_of_the_newest_those_that_ended_stay() -> None:
    """Whether those between them have ended or not."""
    durations = known(60)
    for _ in range(20):
        if durations.record_still_pending(300) or durations.record(Completion(290, 300)):
            break
    assert durations.completions == 4  # every other of the nine that it takes
    assert durations.quantile_s(0.5) == pytest.approx(300, rel=0.1)
    assert DurationHistogram.from_json(durations.as_json()).as_json() == durations.as_json()


def test_a_few_that_outlast_the_usual_are_as_it_should_be() -> None:
    """One in twenty does not end in the time that is usual for nineteen."""
    durations = DurationHistogram()
    for number in range(2000):
        if number % 20 == 19 and durations.completions >= MIN_COMPLETIONS:
            assert not durations.record_still_pending(durations.quantile_s(0.95) or 0)
            durations.record_late(Completion(500, 600), behind=0)
        else:
            assert not durations.record(Completion(50 + number % 20, 51 + number % 20))
    assert durations.completions == 2000


def test_what_comes_late_weighs_as_much_as_its_turn_did() -> None:
    """A completion of two half-lives ago counts a quarter."""
    durations = known(60, 400)
    durations.record_late(Completion(1000, 1000), behind=400)
    assert durations.completions == 401
    late = [weight for low_s, _, weight in durations.histogram() if low_s > 500]
    assert late == pytest.approx([0.25])
    assert not durations.record(Completion(60, 60))
