"""Durations out of a file: the daemon's own export, lists and tables, and what is none of these."""

import json
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cambwatch.rehearsal.history import DRAWN, History, HistoryError, read_history

BINS = [{"from_seconds": 10.0, "to_seconds": 20.0, "weight": 3.0}, {"from_seconds": 90, "to_seconds": 100, "weight": 1}]


def exported(**fields: object) -> str:
    item = {"kind": "dub", "size": None, "completions": 4, "endless": 0.0, "histogram": BINS, "newest": []}
    return json.dumps({"items": [item | fields]})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[3, 1.5, 0]", [("all", [3, 1.5, 0])]),
        ("3\n1.5\n", [("all", [3, 1.5])]),
        ("\n 3 \n\n1.5\n", [("all", [3, 1.5])]),
        ("seconds\n3\n", [("all", [3])]),
        ("whatever\n3\n", [("all", [3])]),
        ("task,Duration_Seconds\na,3\nb,1e2\n", [("all", [3, 100])]),
        ("kind,seconds\ndub,3\ntts,1\ndub,4\n", [("dub", [3, 4]), ("tts", [1])]),
        ('seconds,name\n7,"a, ""b"""\n', [("all", [7])]),
    ],
)
def test_durations_are_read_as_they_stand(text: str, found: list[tuple[str, list[float]]]) -> None:
    """In their order, apart by kind where there is one."""
    assert read_history(text) == [History(label, durations_s) for label, durations_s in found]


def test_an_export_is_drawn_from() -> None:
    """The same each time, and as often as each bin weighs."""
    (history,) = read_history(exported())
    assert (history.label, history.drawn, len(history.durations_s)) == ("dub", True, DRAWN)
    assert read_history(exported()) == [history]
    assert sum(one <= 20 for one in history.durations_s) == pytest.approx(0.75 * DRAWN, rel=0.1)
    assert all(10 <= one <= 20 or 90 <= one <= 100 for one in history.durations_s)
    assert statistics.median(history.durations_s) == pytest.approx(16.7, abs=1)


def test_sizes_of_an_export_have_names_of_their_own() -> None:
    """And one without a completion has no durations."""
    assert read_history(exported(size="long"))[0].label == "dub long"
    assert read_history(exported(histogram=[])) == [History("dub", (), drawn=True)]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is empty"),
        (" \n \n", "is empty"),
        ("[1, -2]", r"\[1\]: '-2' is no number of seconds"),
        ("[1, true]", r"\[1\]: 'True' is no number"),
        ("[1, null]", r"\[1\]: 'None' is no number"),
        ("[NaN]", r"\[0\]: 'nan' is no number"),
        ("1\ninf\n", "line 2: 'inf' is no number"),
        ("1\nlong ago\n", "line 2: 'long ago' is no number"),
        ("1,2\n3,4\n", "several columns and no names"),
        ("a,b\n3,4\n", "no column is named seconds or"),
        ("kind,seconds\ndub\n", "line 2: has 1 columns only"),
        ("{", "is no JSON"),
        ("{}", "has no `items`"),
        ('{"items": [1]}', r"items\[0\] is not of the form"),
        ('{"items": [{"kind": "dub"}]}', r"items\[0\] is not of the form"),
        (exported(histogram=[{"from_seconds": 1, "to_seconds": 2, "weight": -1}]), r"items\[0\]: '-1' is no number"),
        (exported(histogram=[{"from_seconds": 1, "weight": 1}]), r"items\[0\] is not of the form"),
    ],
)
def test_what_is_no_history_is_refused(text: str, why: str) -> None:
    """With the place of the mistake."""
    with pytest.raises(HistoryError, match=why):
        read_history(text)


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda raw: raw.decode("latin-1")))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing else comes of it."""
    try:
        histories = read_history(text)
    except HistoryError:
        return
    assert all(duration_s >= 0 for history in histories for duration_s in history.durations_s)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["items", "kind", "size", "histogram", "weight", "from_seconds", "to_seconds"]),
                inner,
                max_size=6,
            )
        ),
        max_leaves=12,
    )
)
def test_any_document_is_read_or_refused(document: object) -> None:
    """Nothing else comes of it."""
    try:
        read_history(json.dumps(document))
    except HistoryError:
        return
