"""What is remembered of how long tasks took, and when that is dropped."""

import json
import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cambwatch.core.cadence.histogram import (
    BINS,
    EDGES_S,
    HALF_LIFE,
    KEPT_COMPLETIONS,
    MAX_RELAPSES,
    MIN_COMPLETIONS,
    Completion,
    DurationHistogram,
    bin_of,
)

ages = st.floats(-1e9, 1e9)
completions = st.builds(Completion, ages, ages)


def remembering(*ended_s: float) -> DurationHistogram:
    """A memory of tasks whose ends were seen at once."""
    durations = DurationHistogram()
    for each in ended_s:
        durations.record(Completion(each, each))
    return durations


def looked_at(duration_s: float, every_s: float = 5.0) -> Completion:
    """What polls every so often show of a task."""
    found_s = max(math.ceil(duration_s / every_s), 1) * every_s
    return Completion(found_s - every_s, found_s)


def test_an_empty_memory_knows_no_quantile() -> None:
    """Nor any completion."""
    durations = DurationHistogram()
    assert (durations.completions, durations.quantile_s(0.5), sum(durations.weights)) == (0, None, 0)


@pytest.mark.parametrize("duration_s", [0.5, 7, 180, 86400])
def test_quantiles_are_right_to_a_bin(duration_s: float) -> None:
    """Five per cent, at every duration."""
    durations = remembering(*[duration_s / 2] * 10, *[duration_s] * 10, *[duration_s * 2] * 10)
    assert durations.quantile_s(0.5) == pytest.approx(duration_s, rel=0.05)
    assert durations.quantile_s(0.95) == pytest.approx(duration_s * 2, rel=0.05)


@pytest.mark.parametrize(
    ("completion", "place"),
    [
        (Completion(0, 0), 0),
        (Completion(-5, -3), 0),
        (Completion(7, 3), bin_of(7)),  # the clock went back between the two polls
        (Completion(1e12, 1e12), BINS - 1),
        (Completion(-1e12, 0.001), 0),
    ],
)
def test_odd_durations_are_clamped(completion: Completion, place: int) -> None:
    """To the bin that is nearest."""
    durations = DurationHistogram()
    durations.record(completion)
    assert [index for index, weight in enumerate(durations.weights) if weight] == [place]


@given(st.floats(0, 1e9))
def test_a_bin_holds_what_belongs_to_it(age_s: float) -> None:
    """Its lower bound excluded, but for zero, and the last bin takes all that is longer."""
    index = bin_of(age_s)
    assert EDGES_S[index] < age_s <= EDGES_S[index + 1] or age_s == 0 or age_s > EDGES_S[-1]


@given(st.lists(completions, max_size=MIN_COMPLETIONS))
def test_each_completion_weighs_one_where_it_may_belong(seen: list[Completion]) -> None:
    """All together as much as faded ones do, and none outside of what was seen."""
    durations = DurationHistogram()
    for each in seen:
        durations.record(each)
    faded = sum(0.5 ** (age / HALF_LIFE) for age in range(len(seen)))
    assert sum(durations.weights) == pytest.approx(faded)
    allowed = set()
    for each in seen:
        inside = each.clamped()
        allowed |= set(range(bin_of(inside.pending_s), bin_of(inside.ended_s) + 1))
    assert {index for index, weight in enumerate(durations.weights) if weight} <= allowed


def test_a_wide_gap_is_filled_as_others_were_seen() -> None:
    """A task that ended sometime during an outage counts mostly as one of those that are known."""
    durations = remembering(*[60.0] * 100)
    before = durations.weights[bin_of(60)]
    durations.record(Completion(10, 7200))
    assert durations.weights[bin_of(60)] > before * 0.5 ** (1 / HALF_LIFE) + 0.9


def test_old_completions_fade() -> None:
    """To half after so many newer ones."""
    durations = remembering(10.0)
    for _ in range(HALF_LIFE):
        durations.record(Completion(11, 11))
    assert durations.weights[bin_of(10)] == pytest.approx(0.5)


def test_endless_tasks_are_counted_and_fade_as_others_complete() -> None:
    """But do not make those others fade, however many there are."""
    durations = remembering(*[10.0] * 40)
    known = sum(durations.weights)
    for _ in range(100_000):
        durations.record_expired()
    assert sum(durations.weights) == pytest.approx(known)
    expired = durations.expired
    assert 200 < expired < 300
    for _ in range(HALF_LIFE):
        durations.record(Completion(10, 10))
    assert durations.expired == pytest.approx(expired / 2)


def test_what_completions_are_worth_is_bounded() -> None:
    """One counts as one, some as a little less than as many, a million as 577."""
    assert remembering(5).effective_completions == pytest.approx(1)
    assert 28 < remembering(*[5.0] * 30).effective_completions < 30
    expired = DurationHistogram.from_json(remembering(5).as_json() | {"completions": 10**6})
    assert expired.effective_completions == pytest.approx(577, abs=1)


def test_a_million_completions_need_no_more_memory_than_a_thousand() -> None:
    """Fed through the weights: as many numbers are kept, and they stay numbers."""
    dice, durations = Random(1), DurationHistogram()
    lengths = []
    for count in range(1, 40_001):
        durations.record(looked_at(dice.lognormvariate(4, 1)))
        if count in {1000, 40_000}:
            lengths.append(len(json.dumps(durations.as_json())))
    assert lengths[1] < lengths[0] * 1.5
    assert max(durations._weights) < 1e15  # a currency that is never exchanged runs out of floats at 200,000
    # A completion outweighs one that is a million older by 2 ** 5000, which no float holds.
    million = DurationHistogram.from_json(durations.as_json() | {"completions": 10**6})
    million.record(Completion(60, 60))
    assert million.completions == 10**6 + 1
    assert len(million.weights) == BINS
    assert sum(million.weights) == pytest.approx(289, abs=1)


@pytest.mark.parametrize("factor", [2.0, 0.5])
@pytest.mark.parametrize(("sigma", "within"), [(0.25, 15), (0.5, 30)])
def test_the_past_is_dropped_when_tasks_take_other_times(factor: float, sigma: float, within: int) -> None:
    """Twice or half as long: what remains are the newest, and they are of the new sort."""
    dice, durations = Random(f"{factor} {sigma}"), DurationHistogram()
    for _ in range(300):
        assert not durations.record(looked_at(dice.lognormvariate(math.log(100), sigma)))
    for _ in range(within):
        if durations.record(looked_at(factor * dice.lognormvariate(math.log(100), sigma))):
            break
    else:
        pytest.fail("the change went by unnoticed")
    assert durations.completions <= KEPT_COMPLETIONS
    assert durations.quantile_s(0.5) == pytest.approx(factor * 100, rel=0.35)


@pytest.mark.parametrize("dice", [Random(seed) for seed in range(4)])
def test_false_alarms_are_rare(dice: Random) -> None:
    """Not one in some thousand completions that are all of one sort."""
    durations = DurationHistogram()
    assert not any(durations.record(looked_at(dice.lognormvariate(4, 0.5))) for _ in range(4000))


def test_a_few_strange_durations_raise_no_alarm() -> None:
    """However strange: each counts for little more than one at the edge."""
    durations = remembering(*[60 + index % 10 for index in range(100)])
    assert not any(durations.record(Completion(50_000, 50_000)) for _ in range(6))


@pytest.mark.parametrize("duration_s", [0.0, 0.3, 9.6, 10.0, 181.5])
def test_tasks_that_all_take_the_same_raise_no_alarm(duration_s: float) -> None:
    """Wherever that lies in its bin, and however closely it was looked at."""
    durations = DurationHistogram()
    assert not any(durations.record(Completion(duration_s - 0.1, duration_s)) for _ in range(500))


def test_nothing_is_dropped_before_enough_is_known() -> None:
    """Even if each duration is another."""
    durations = DurationHistogram()
    assert not any(durations.record(Completion(2.0**index, 2.0**index)) for index in range(20))
    assert durations.completions == 20


def longer_and_longer(durations: DurationHistogram, count: int) -> int:
    """Let *count* tasks that began together wait for one worker; how many of them were met by one that was known."""
    met = 0
    for number in range(count):
        met += durations.is_sufficient
        durations.record(looked_at(30 + 2 * number))
    return met


def test_what_holds_for_a_few_only_is_believed_less_and_less() -> None:
    """Tasks in a queue: of a thousand hardly any are asked for by what was learned of those before them."""
    durations = DurationHistogram()
    assert longer_and_longer(durations, 1000) < 60
    assert longer_and_longer(durations, 1000) == 0  # the next wave begins with short ones again


def test_what_has_held_for_long_is_believed_as_soon_as_ever() -> None:
    """Once tasks are all of one sort; and a change after that is no relapse."""
    dice, durations = Random(7), DurationHistogram()
    longer_and_longer(durations, 1000)
    for _ in range(3 * (MIN_COMPLETIONS << MAX_RELAPSES)):
        durations.record(looked_at(dice.lognormvariate(4, 0.5)))
    assert durations.is_sufficient
    while not durations.record(looked_at(4 * dice.lognormvariate(4, 0.5))):
        pass
    for _ in range(MIN_COMPLETIONS):
        assert not durations.record(looked_at(4 * dice.lognormvariate(4, 0.5)))
    assert durations.is_sufficient


def test_what_was_believed_too_soon_is_remembered_as_such() -> None:
    """Over a restart."""
    durations = DurationHistogram()
    longer_and_longer(durations, 1000)
    again = DurationHistogram.from_json(json.loads(json.dumps(durations.as_json())))
    assert longer_and_longer(again, 200) == 0


def test_what_an_older_version_has_written_down_is_known() -> None:
    """It did not count relapses."""
    written = remembering(*[10.0] * MIN_COMPLETIONS).as_json()
    del written["relapses"]
    assert DurationHistogram.from_json(written).is_sufficient


@given(st.lists(completions, max_size=60), st.integers(0, 3), completions)
def test_a_memory_survives_being_written_down(seen: list[Completion], expired: int, later: Completion) -> None:
    """As JSON text, and what it learns from then on is the same."""
    durations = DurationHistogram()
    for each in seen:
        durations.record(each)
    for _ in range(expired):
        durations.record_expired()
    again = DurationHistogram.from_json(json.loads(json.dumps(durations.as_json())))
    assert again.record(later) == durations.record(later)
    assert again.completions == durations.completions
    assert again.weights == pytest.approx(durations.weights)
    assert again.expired == pytest.approx(durations.expired)
    assert again.as_json()["newest"] == durations.as_json()["newest"]


GOOD = remembering(10.0).as_json()


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        "memory",
        GOOD | {"form": [0.1, 0.1, 10]},
        GOOD | {"completions": -1},
        GOOD | {"completions": 0},
        GOOD | {"completions": "many"},
        GOOD | {"weights": []},
        GOOD | {"weights": [[BINS, 1.0]]},
        GOOD | {"weights": [[-1, 1.0]]},
        GOOD | {"weights": [[3, -1.0]]},
        GOOD | {"weights": [[3, math.nan]]},
        GOOD | {"weights": [[3, math.inf]]},
        GOOD | {"weights": 3},
        GOOD | {"endless": None},
        GOOD | {"newest": [[1]]},
        GOOD | {"newest": [[1, math.nan]]},
        GOOD | {"longer": [1]},
        GOOD | {"relapses": -1},
        {key: value for key, value in GOOD.items() if key != "shorter"},
    ],
)
def test_what_is_no_memory_is_refused(value: object) -> None:
    """With the one error that says so."""
    with pytest.raises(ValueError, match=r"."):
        DurationHistogram.from_json(value)
