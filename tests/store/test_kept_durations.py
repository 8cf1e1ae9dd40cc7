"""What is remembered of how long tasks took, as it is kept."""

import math
from datetime import timedelta

import pytest
import sqlalchemy as sa
from hypothesis import given
from store_samples import NOW, json_values, on_one_database, texts

from cambwatch.adapters.store.database import Database
from cambwatch.adapters.store.durations import DurationStore
from cambwatch.adapters.store.row_mapping import to_micros
from cambwatch.core.cadence.cadence_model import SavedDurations
from cambwatch.core.cadence.histogram import BINS, Completion, DurationHistogram

LATER = NOW + timedelta(minutes=1)


@pytest.fixture
def durations(database: Database) -> DurationStore:
    """The durations in `database`."""
    return DurationStore(database)


async def _written_at(database: Database) -> dict[tuple[str, str], int]:
    def work(connection: sa.Connection) -> dict[tuple[str, str], int]:
        return {
            (kind, size): at
            for kind, size, at in connection.execute(sa.text("SELECT kind, size, updated_at FROM durations"))
        }

    return await database.read(work)


async def test_nothing_is_remembered_at_first(durations: DurationStore) -> None:
    assert await durations.saved_durations() == []


async def test_a_kind_and_its_sizes_are_kept_apart(durations: DurationStore, database: Database) -> None:
    """The kind as a whole comes first."""
    saved_durations = [
        SavedDurations("tts", None, {"a": 1}),
        SavedDurations("dub", "long", {"b": [1, 2.5]}),
        SavedDurations("dub", None, {}),
    ]
    await durations.save_durations(saved_durations, now=NOW)
    assert await durations.saved_durations() == [saved_durations[2], saved_durations[1], saved_durations[0]]
    assert set((await _written_at(database)).values()) == {to_micros(NOW)}


async def test_what_is_kept_again_takes_the_place_of_what_was(durations: DurationStore, database: Database) -> None:
    """And nothing else's."""
    await durations.save_durations(
        [SavedDurations("dub", None, {"a": 1}), SavedDurations("dub", "long", {"b": 1})], now=NOW
    )
    await durations.save_durations(
        [SavedDurations("dub", "long", {"b": 2}), SavedDurations("tts", None, {"c": 3})], now=LATER
    )
    assert [(one.kind, one.size, one.durations) for one in await durations.saved_durations()] == [
        ("dub", None, {"a": 1}),
        ("dub", "long", {"b": 2}),
        ("tts", None, {"c": 3}),
    ]
    assert await _written_at(database) == {
        ("dub", ""): to_micros(NOW),
        ("dub", "long"): to_micros(LATER),
        ("tts", ""): to_micros(LATER),
    }


async def test_nothing_to_keep_is_kept(durations: DurationStore) -> None:
    """Without a word to the database."""
    await durations.save_durations([SavedDurations("dub", None, {"a": 1})], now=NOW)
    await durations.save_durations([], now=LATER)
    assert len(await durations.saved_durations()) == 1


async def test_all_are_kept_or_none(durations: DurationStore) -> None:
    """Here because one is named twice, which nobody does."""
    await durations.save_durations([SavedDurations("dub", None, {"a": 1})], now=NOW)
    twice = [
        SavedDurations("dub", None, {"a": 2}),
        SavedDurations("tts", None, {"a": 3}),
        SavedDurations("tts", None, {"a": 4}),
    ]
    with pytest.raises(sa.exc.IntegrityError):
        await durations.save_durations(twice, now=LATER)
    assert await durations.saved_durations() == [SavedDurations("dub", None, {"a": 1})]


@on_one_database
@given(size=texts.filter(bool), memory=json_values)
async def test_any_size_and_any_memory_come_back(durations: DurationStore, size: str, memory: object) -> None:
    """As they were, to the last digit."""
    await durations.save_durations([SavedDurations("dub", size, {"it": memory})], now=NOW)
    assert SavedDurations("dub", size, {"it": memory}) in await durations.saved_durations()


async def test_what_was_learned_comes_back(durations: DurationStore) -> None:
    """However much it was: a row is bounded."""
    learned = DurationHistogram()
    for number in range(5000):
        learned.record(Completion(math.exp(number % 19) / 100, math.exp(number % 20) / 100))
    await durations.save_durations([SavedDurations("dub", None, learned.as_json())], now=NOW)
    (found,) = await durations.saved_durations()
    again = DurationHistogram.from_json(found.durations)
    assert again.as_json() == learned.as_json()
    assert len(again.histogram()) <= BINS
