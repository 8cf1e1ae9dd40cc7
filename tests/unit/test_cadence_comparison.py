"""Polling policies compared on observed durations: the bound holds, and too few observations give no figures."""

import json
import math
import xml.etree.ElementTree as ET
from functools import cache
from random import Random

import pytest

from cadence_evaluation.comparison import FEWEST_OBSERVED, Row, compare, curves, why_not_judged
from cadence_evaluation.durations_file import DurationBins, DurationList, ObservedDurations
from cadence_evaluation.lifetimes import counted
from cambwatch.core.cadence.policy import PollPolicy
from evaluate_cadence import main

POLICY = PollPolicy()
SAVING_HAIR = 0.003  # how near `solve_for_delay` comes to the mean delay of the learned policy


def lognormal(median_s: float, sigma: float, count: int) -> list[float]:
    dice = Random(f"{median_s} {sigma} {count}")
    return [dice.lognormvariate(math.log(median_s), sigma) for _ in range(count)]


def bimodal(count: int) -> list[float]:
    pairs = enumerate(zip(lognormal(6, 0.3, count), lognormal(240, 0.15, count), strict=True))
    return [short_s if index % 5 < 3 else long_s for index, (short_s, long_s) in pairs]


def as_bins(durations_s: list[float]) -> DurationBins:
    return DurationBins("dub", counted(durations_s), len(durations_s))


OBSERVED: dict[str, ObservedDurations] = {
    "60 of sigma 0.5": DurationList("all", lognormal(45, 0.5, 60)),
    "100 of sigma 0.5": DurationList("all", lognormal(45, 0.5, 100)),
    "1000 of sigma 0.25": DurationList("all", lognormal(180, 0.25, 1000)),
    "200 of sigma 1.2": DurationList("all", lognormal(60, 1.2, 200)),
    "150 with two humps": DurationList("all", bimodal(150)),
    "80 alike": DurationList("all", [60.0] * 80),
    "longer and longer": DurationList("all", [float(age_s) for age_s in range(60, 200)]),
    "histogram of 60": as_bins(lognormal(45, 0.5, 60)),
    "histogram of 2000": as_bins(lognormal(180, 0.25, 2000)),
}


@cache
def rows_of(name: str) -> dict[str, Row]:
    return compare(OBSERVED[name], POLICY).rows


@pytest.mark.parametrize("name", OBSERVED)
def test_what_is_learned_never_beats_the_optimum(name: str) -> None:
    rows = rows_of(name)
    assert rows["optimum"].cost.mean_s == pytest.approx(rows["learned"].cost.mean_s, rel=0.02)
    assert rows["learned"].saving <= rows["optimum"].saving + SAVING_HAIR


@pytest.mark.parametrize("name", OBSERVED)
def test_the_fixed_interval_saves_nothing_against_itself(name: str) -> None:
    assert rows_of(name)["fixed 5 s"].saving == pytest.approx(0, abs=0.01)


def test_the_comparison_is_the_same_each_time() -> None:
    assert compare(OBSERVED["histogram of 60"], POLICY).rows == rows_of("histogram of 60")


@pytest.mark.parametrize(("sigma", "pays"), [(0.25, True), (1.2, False)])
def test_it_says_whether_cambwatch_would_use_what_it_learned(sigma: float, *, pays: bool) -> None:
    assert compare(DurationList("all", lognormal(30, sigma, 100)), POLICY).pays is pays


def test_curves_show_every_policy_that_is_tuned_and_the_shipped_ones_in_range() -> None:
    observed = OBSERVED["60 of sigma 0.5"]
    found = curves(observed, POLICY, rows_of("60 of sigma 0.5"))
    assert [curve.label for curve in found] == ["fixed", "learned", "equal probability", "optimum", "what others ship"]
    assert [len(curve.points) for curve in found[:4]] == [6] * 4


@pytest.mark.parametrize("observed", [0, 1, 59])
def test_fewer_observations_than_the_minimum_are_not_judged(observed: int) -> None:
    for durations in (DurationList("all", [60.0] * observed), DurationBins("dub", counted([60.0]), observed)):
        why = why_not_judged(durations, POLICY)
        assert why is not None
        assert f"Collect {FEWEST_OBSERVED - observed} more" in why


def test_the_minimum_is_judged() -> None:
    assert why_not_judged(OBSERVED["60 of sigma 0.5"], POLICY) is None
    assert why_not_judged(OBSERVED["histogram of 60"], POLICY) is None


def test_tasks_that_outlast_the_deadline_judge_nothing(tmp_path, capsys) -> None:
    (tmp_path / "file").write_text(" ".join(["60"] * 80))
    assert main([str(tmp_path / "file"), "--deadline", "10s"]) == 1
    assert "most take longer than --deadline, 10 s" in capsys.readouterr().out


def export_of(observed: int) -> str:
    """The answer of GET /v1/durations after so many tasks of 41 s or so."""
    bins = [{"from_seconds": 40.0, "to_seconds": 42.0, "weight": float(observed)}]
    item = {"kind": "dub", "size": None, "completions": observed, "expired": 0.0, "histogram": bins, "newest": []}
    return json.dumps({"items": [item]})


def test_one_observed_task_prints_no_percentages(tmp_path, capsys) -> None:
    file, plot = tmp_path / "durations.json", tmp_path / "plot.svg"
    file.write_text(export_of(1))
    assert main([str(file), "--plot", str(plot)]) == 1
    shown = capsys.readouterr().out
    assert "dub: 1 observed, too few to judge by" in shown
    assert "saving" not in shown
    assert not plot.exists()
    assert main([str(file), "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["dub"]["observed"], document["dub"]["policies"]) == (1, None)


def test_enough_observed_tasks_print_a_table_and_draw_a_plot(tmp_path, capsys) -> None:
    file, plot = tmp_path / "durations.json", tmp_path / "plot.svg"
    file.write_text(export_of(100))
    assert main([str(file), "--plot", str(plot), "--kind", "dub"]) == 0
    shown = capsys.readouterr().out
    assert all(f"\n{name} " in shown for name in ("fixed 5 s", "learned", "equal probability", "optimum"))
    assert ET.fromstring(plot.read_text()).tag.endswith("svg")  # noqa: S314 - our own


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["missing.json"], "cannot read missing.json"),
        (["durations.json", "--kind", "tts"], "has no durations of that kind"),
        (["durations.json", "--interval", "soon"], "'soon' is no duration"),
        (["durations.json", "--interval", "0s"], "must be greater than zero"),
        (["durations.json", "--interval", "5m"], "must lie between"),
        (["broken.json"], "is not valid JSON"),
    ],
)
def test_a_mistake_of_the_user_exits_with_2_and_says_why(tmp_path, monkeypatch, capsys, words, why) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "durations.json").write_text(export_of(100))
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(SystemExit) as exited:
        main(words)
    assert exited.value.code == 2
    assert why in capsys.readouterr().err
