"""What was learned about kinds and their sizes: when it is used, shown, written down."""

import json
import math
from random import Random

import pytest

from cambwatch.core.cadence.cadence_model import MAX_SIZES, CadenceModel, SavedDurations
from cambwatch.core.cadence.estimate import PollLimits, Strategy
from cambwatch.core.cadence.histogram import MIN_COMPLETIONS, Completion
from cambwatch.core.cadence.start_order import OrderedCompletion


def novice() -> CadenceModel:
    return CadenceModel(lambda _: PollLimits(interval_s=5, min_s=1, max_s=120, deadline_s=86400))


def teach(experience: CadenceModel, kind: str, size: str | None, *, count: int, median_s: float, sigma: float) -> None:
    dice = Random(f"{kind} {size} {count} {median_s}")
    for _ in range(count):
        duration_s = dice.lognormvariate(math.log(median_s), sigma)
        experience.learn(kind, OrderedCompletion(size, Completion(max(duration_s - 2, 0), duration_s + 1)))


def test_nothing_known_means_the_fixed_interval() -> None:
    """For kinds that nobody has seen, and for their sizes."""
    assert novice().schedule("dub") is None
    assert novice().schedule("dub", "long") is None
    assert not list(novice().summaries())


def test_a_kind_is_learned_after_enough_completions() -> None:
    """Not before, and no other kind with it."""
    experience = novice()
    teach(experience, "dub", None, count=MIN_COMPLETIONS - 1, median_s=180, sigma=0.25)
    assert experience.schedule("dub") is None
    teach(experience, "dub", None, count=1, median_s=180, sigma=0.25)
    assert experience.schedule("dub") is not None
    assert experience.schedule("tts") is None


def test_a_size_is_as_its_kind_until_it_is_known_itself() -> None:
    """Then it has a schedule of its own."""
    experience = novice()
    teach(experience, "dub", "short", count=60, median_s=180, sigma=0.25)
    whole = experience.schedule("dub")
    assert whole is not None
    assert experience.schedule("dub", "long") is whole
    teach(experience, "dub", "long", count=1, median_s=180, sigma=0.25)
    assert experience.schedule("dub", "long") is whole
    assert experience.schedule("dub", "short") not in {whole, None}


def test_a_size_that_is_known_to_be_unpredictable_is_not_asked_for_as_its_kind() -> None:
    """The fixed interval is what was found best for it."""
    experience, dice = novice(), Random(3)
    teach(experience, "dub", "even", count=400, median_s=180, sigma=0.1)
    for _ in range(60):
        duration_s = dice.expovariate(1 / 180)
        experience.learn("dub", OrderedCompletion("odd", Completion(duration_s, duration_s)))
    assert experience.schedule("dub", "odd") is None
    assert experience.schedule("dub", "even") is not None


def test_a_schedule_stays_the_same_object_until_enough_is_new() -> None:
    """So whoever holds it can tell by identity."""
    experience = novice()
    teach(experience, "dub", None, count=200, median_s=180, sigma=0.25)
    first = experience.schedule("dub")
    teach(experience, "dub", None, count=1, median_s=180, sigma=0.25)
    assert experience.schedule("dub") is first
    teach(experience, "dub", None, count=12, median_s=180, sigma=0.25)
    assert experience.schedule("dub") is not first


def test_a_change_is_told_and_the_fixed_interval_comes_back_until_it_is_learned() -> None:
    """Of the kind, and of the size too."""
    experience = novice()
    teach(experience, "dub", "long", count=100, median_s=180, sigma=0.25)
    told = [key for _ in range(20) for key in experience.learn("dub", OrderedCompletion("long", Completion(900, 902)))]
    assert sorted(told, key=str) == [("dub", "long"), ("dub", None)]
    assert experience.schedule("dub", "long") is None
    assert experience.schedule("dub") is None
    teach(experience, "dub", "long", count=60, median_s=901, sigma=0.1)
    assert experience.schedule("dub", "long") is not None


def test_more_sizes_than_can_be_told_apart_count_for_their_kind() -> None:
    """Labels come from users: they must not fill the memory."""
    experience = novice()
    for index in range(MAX_SIZES + 50):
        experience.learn("dub", OrderedCompletion(f"size {index}", Completion(60, 62)))
        experience.record_expired("dub", f"size {index}")
    experience.learn("tts", OrderedCompletion("other kind", Completion(6, 7)))
    found = list(experience.summaries())
    assert sum(each.kind == "dub" and each.size is not None for each in found) == MAX_SIZES
    assert found[0].completions == MAX_SIZES + 50
    assert [each.size for each in found if each.kind == "tts"] == [None, "other kind"]


def test_insights_tell_what_is_known_and_what_is_done() -> None:
    """Polls are those of the strategy in force."""
    experience = novice()
    teach(experience, "dub", None, count=200, median_s=180, sigma=0.25)
    teach(experience, "story", None, count=10, median_s=60, sigma=0.25)
    dub, story = experience.summaries()
    assert (dub.kind, dub.size, dub.completions, dub.strategy) == ("dub", None, 200, Strategy.LEARNED)
    assert dub.median_s == pytest.approx(180, rel=0.1)
    assert dub.p95_s == pytest.approx(270, rel=0.15)
    assert dub.polls is not None
    assert dub.fixed_polls == pytest.approx(38.4, rel=0.08)
    assert dub.polls * 1.7 < dub.fixed_polls
    assert dub.gain is not None
    assert dub.gain > 1.7
    assert (story.completions, story.strategy, story.polls, story.fixed_polls, story.gain) == (
        10,
        Strategy.FIXED,
        None,
        None,
        None,
    )


def test_a_kind_that_never_ends_stays_at_the_fixed_interval() -> None:
    """There is nothing to learn from."""
    experience = novice()
    for _ in range(100):
        experience.record_expired("dub", None)
    (dub,) = experience.summaries()
    assert experience.schedule("dub") is None
    assert (dub.completions, dub.median_s, dub.strategy) == (0, None, Strategy.FIXED)


def test_what_was_learned_survives_a_restart() -> None:
    """Only what changed is written down, once."""
    experience, again = novice(), novice()
    teach(experience, "dub", "long", count=60, median_s=180, sigma=0.25)
    rows = [
        SavedDurations(*json.loads(json.dumps([one.kind, one.size, one.durations]))) for one in experience.unsaved()
    ]
    assert sorted((one.kind, one.size or "") for one in rows) == [("dub", ""), ("dub", "long")]
    assert experience.unsaved() == []
    for memory in rows:
        again.restore(memory)
    assert again.unsaved() == []
    assert again.schedule("dub", "long") is not None
    experience.restore(next(one for one in rows if one.size is None))  # concludes anew, as the other did
    assert next(again.summaries()).completions == 60
    assert next(again.summaries()).gain == pytest.approx(next(experience.summaries()).gain)


def test_a_memory_that_is_none_is_refused_and_nothing_forgotten() -> None:
    """The caller may go on without it."""
    experience = novice()
    teach(experience, "dub", None, count=60, median_s=180, sigma=0.25)
    with pytest.raises(ValueError, match="not a memory"):
        experience.restore(SavedDurations("dub", None, {"form": "other"}))
    assert experience.schedule("dub") is not None
