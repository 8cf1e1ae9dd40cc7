"""Observed durations from a file: the answer of GET /v1/durations, lists of seconds, and everything else."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cadence_evaluation.durations_file import DurationBins, DurationList, DurationsFileError, read_durations
from cambwatch.core.cadence.histogram import Completion, DurationHistogram, bin_of

BINS = [{"from_seconds": 10.0, "to_seconds": 20.0, "weight": 3.0}, {"from_seconds": 90, "to_seconds": 100, "weight": 1}]


def exported(**fields: object) -> str:
    item = {"kind": "dub", "size": None, "completions": 4, "expired": 0.0, "histogram": BINS, "newest": []}
    return json.dumps({"items": [item | fields]})


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("[3, 1.5, 0]", [3, 1.5, 0]),
        ("[]", []),
        ("3\n1.5\n", [3, 1.5]),
        ("\n 3 \n\n1.5 1e2\r\n", [3, 1.5, 100]),
    ],
)
def test_a_list_of_seconds_keeps_its_order(text: str, seconds: list[float]) -> None:
    assert read_durations(text) == [DurationList("all", seconds)]


def test_an_export_keeps_its_weights_and_the_number_of_observed_tasks() -> None:
    (found,) = read_durations(exported())
    assert isinstance(found, DurationBins)
    assert (found.label, found.observed, sum(found.weights)) == ("dub", 4, 4)
    assert (found.weights[bin_of(15)], found.weights[bin_of(95)]) == (3, 1)


def test_the_histogram_of_the_daemon_falls_into_the_bins_it_came_from() -> None:
    durations = DurationHistogram()
    for age_s in (0.004, 3.0, 40.0, 41.0, 90_000.0):
        durations.record(Completion(age_s, age_s))
    bins = [
        {"from_seconds": round(low_s, 6), "to_seconds": round(high_s, 6), "weight": weight}
        for low_s, high_s, weight in durations.histogram()
    ]
    (found,) = read_durations(exported(completions=5, histogram=bins))
    assert isinstance(found, DurationBins)
    assert found.weights == pytest.approx(durations.weights)


def test_a_size_has_a_label_of_its_own() -> None:
    assert read_durations(exported(size="long"))[0].label == "dub long"


def test_an_empty_histogram_is_not_an_observation() -> None:
    assert read_durations(exported(histogram=[]))[0].observed == 0


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is empty"),
        (" \n \n", "is empty"),
        ("[1, -2]", "value 2: '-2' is not a number"),
        ("[1, true]", "value 2: 'True' is not a number"),
        ("[1, null]", "value 2: 'None' is not a number"),
        ("[NaN]", "value 1: 'nan' is not a number"),
        (f"[{10**400}]", "value 1: '1000.*' is not a number"),
        ("1\ninf\n", "value 2: 'inf' is not a number"),
        ("seconds\n1\n", "value 1: 'seconds' is not a number"),
        ("1,2", "value 1: '1,2' is not a number"),
        ("{", "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
        ("{}", "has no `items`"),
        ('{"items": [1]}', r"items\[0\] does not have the form"),
        ('{"items": [{"kind": "dub"}]}', r"items\[0\] does not have the form"),
        (exported(completions=None), r"items\[0\]: 'None' is not a number"),
        (exported(histogram=[{"from_seconds": 1, "to_seconds": 2, "weight": -1}]), r"items\[0\]: '-1' is not a number"),
        (exported(histogram=[{"from_seconds": 1, "weight": 1}]), r"items\[0\] does not have the form"),
    ],
)
def test_anything_else_is_refused_with_its_place(text: str, why: str) -> None:
    with pytest.raises(DurationsFileError, match=why):
        read_durations(text)


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda raw: raw.decode("latin-1")))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = read_durations(text)
    except DurationsFileError:
        return
    assert all(one.observed >= 0 for one in found)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["items", "kind", "size", "completions", "histogram", "weight", "from_seconds", "to_seconds"]
                ),
                inner,
                max_size=6,
            )
        ),
        max_leaves=12,
    )
)
def test_any_document_is_read_or_refused(document: object) -> None:
    try:
        read_durations(json.dumps(document))
    except DurationsFileError:
        return
