"""Tasks replayed under polling policies: the ages, the costs, the simulated learner, the plot."""

import math
import xml.etree.ElementTree as ET
from datetime import timedelta
from itertools import islice, pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cadence_evaluation.plot import Curve, plot
from cadence_evaluation.policies import SHIPPED, along, backoff, growing, in_step, out_of_step
from cadence_evaluation.replay import (
    Cost,
    SimulatedLearner,
    in_step_at_same_mean,
    out_of_step_at_same_mean,
    poll,
    replay,
)
from cambwatch.core.cadence.policy import PollPolicy

DAY_S = 86400.0
chances = st.floats(0, 1, exclude_max=True)


def drawn(median_s: float, sigma: float, count: int, seed: int = 1) -> list[tuple[float, float]]:
    dice = Random(seed)
    return [(dice.lognormvariate(math.log(median_s), sigma), dice.random()) for _ in range(count)]


@pytest.mark.parametrize(
    ("ages", "first"),
    [
        (in_step(5), [5, 10, 15, 20]),
        (out_of_step(5), [5, 10, 15, 20]),
        (along(PollPolicy()), [5, 10, 15, 20]),
        (backoff(1, 2, 3), [1, 3, 6, 9]),
        (growing(1, 0.5, shortest_s=2, longest_s=4), [2, 4, 6, 9]),
        (growing(0.5, 1, shortest_s=4, longest_s=100), [4, 8, 12, 16]),
    ],
)
def test_policies_poll_at_these_ages_with_the_middle_of_all_chances(ages, first):
    assert list(islice(ages(0.5), 4)) == first


@given(st.sampled_from(sorted(SHIPPED)), chances)
def test_ages_only_grow(label: str, chance: float) -> None:
    """And every policy goes on for ever."""
    assert all(later >= earlier for earlier, later in pairwise(islice(SHIPPED[label](chance), 200)))


@pytest.mark.parametrize(
    ("duration_s", "answer"),
    [
        (0, (2, 0.0, 5.0)),
        (5, (2, 0.0, 5.0)),
        (5.1, (3, 5.0, 10.0)),
        (99, (21, 95.0, 100.0)),
        (101, (21, 95.0, None)),
        (math.inf, (21, 95.0, None)),
    ],
)
def test_a_task_is_polled_until_it_finishes_or_its_deadline(duration_s, answer):
    assert poll(in_step(5)(0), duration_s, 100.0) == answer


def test_a_cost_has_mean_requests_and_percentiles_of_the_delay() -> None:
    tasks = [(5.0 * number - 1 - number / 100, 0.5) for number in range(1, 101)]
    found = replay(in_step(5), tasks, deadline_s=DAY_S)
    assert found == Cost(requests=51.5, mean_s=1.505, p50_s=1.51, p95_s=1.96, p99_s=2.0, max_s=2.0)


@given(
    st.lists(st.tuples(st.floats(0, 300), st.sampled_from([0.0, 0.3, 0.7])), min_size=1, max_size=30),
    st.sampled_from(sorted(SHIPPED)),
)
def test_a_cost_is_that_of_polling_each_task_alone(tasks: list[tuple[float, float]], label: str) -> None:
    asked = [poll(SHIPPED[label](chance), duration_s, 200.0) for duration_s, chance in tasks]
    delays = [
        0.0 if end_s is None else end_s - min(task[0], 200) for (*_, end_s), task in zip(asked, tasks, strict=True)
    ]
    found = replay(SHIPPED[label], tasks, deadline_s=200.0)
    assert found.requests == pytest.approx(sum(requests for requests, *_ in asked) / len(tasks), abs=1e-4)
    assert found.mean_s == pytest.approx(sum(delays) / len(tasks), abs=1e-4)
    assert found.max_s == pytest.approx(max(delays), abs=1e-3)


def test_a_task_that_never_ends_costs_its_polls_and_delays_nobody() -> None:
    """It has not ended by its deadline, so nobody waits for word of it."""
    found = replay(in_step(10), [(math.inf, 0.5)], deadline_s=100)
    assert found == Cost(11, 0, 0, 0, 0, 0)


@pytest.mark.parametrize("fixed", [in_step_at_same_mean, out_of_step_at_same_mean])
@pytest.mark.parametrize("mean_s", [0.5, 2.5, 20.0])
def test_the_fixed_interval_to_compare_with_has_the_same_mean_delay(mean_s: float, fixed) -> None:
    tasks = drawn(45, 0.5, 2000)
    assert fixed(mean_s, tasks, deadline_s=DAY_S).mean_s == pytest.approx(mean_s, rel=0.02)


@pytest.mark.parametrize("duration_s", [0.1, 7.0, 60.0, 61.0, 1e4])
def test_out_of_step_the_mean_delay_of_tasks_that_all_take_the_same_can_be_chosen(duration_s: float) -> None:
    tasks = [(duration_s, (index + 0.5) / 64) for index in range(64)]
    found = out_of_step_at_same_mean(5.0, tasks, deadline_s=DAY_S)
    assert found.mean_s == pytest.approx(5.0, rel=0.02)


def test_a_pupil_learns_from_what_its_own_polls_saw() -> None:
    """At the interval at first; then it needs fewer polls for the same delay."""
    policy = PollPolicy()
    learner = SimulatedLearner(policy)
    assert learner.policy == policy
    learner.learn(drawn(180, 0.25, 200))
    assert learner.policy.schedule is not None
    unseen = drawn(180, 0.25, 500, seed=2)
    cost = replay(learner.ages, unseen, deadline_s=DAY_S)
    fixed = in_step_at_same_mean(cost.mean_s, unseen, deadline_s=DAY_S)
    assert cost.requests < 0.6 * fixed.requests
    assert cost.mean_s == pytest.approx(2.5, rel=0.15)
    assert cost.p95_s < 1.3 * fixed.p95_s


def test_a_pupil_notices_a_change() -> None:
    """And that some tasks never end."""
    learner = SimulatedLearner(PollPolicy(deadline=timedelta(hours=1)))
    learner.learn(drawn(60, 0.1, 100))
    assert learner.watch(math.inf, 0.5)[1] is None
    assert learner.alarms == 0
    learner.learn(drawn(300, 0.1, 30))
    assert learner.alarms == 1


def test_the_plot_is_a_drawing_of_every_point() -> None:
    """Well-formed, whatever the labels; joined by a line, or not."""
    panels = {
        "a <b> & c": [Curve("fixed", [(1, 10), (2, 5)]), Curve("others", [(1.5, 7)], joined=False)],
        "flat": [Curve("fixed", [(0, 2)])],
    }
    root = ET.fromstring(plot(panels))  # noqa: S314 - our own
    space = "{http://www.w3.org/2000/svg}"
    assert len(root.findall(f".//{space}circle")) == 4
    assert len(root.findall(f".//{space}polyline")) == 2
    words = [one.text for one in root.findall(f".//{space}text")]
    assert {"a <b> & c", "flat", "fixed", "others"} <= set(words)
    for circle in root.findall(f".//{space}circle"):
        assert 0 <= float(circle.attrib["cx"]) <= 260
        assert 0 <= float(circle.attrib["cy"]) <= 200


def test_the_legend_has_room_below_a_single_panel() -> None:
    """In as many lines as it takes."""
    curves = [Curve(f"policy {number}", [(1, number)]) for number in range(1, 6)]
    root = ET.fromstring(plot({"all": curves}))  # noqa: S314 - our own
    width, height = map(int, root.attrib["viewBox"].split()[2:])
    words = root.findall("{http://www.w3.org/2000/svg}text")
    places = {(int(one.attrib["x"]), int(one.attrib["y"])) for one in words}
    assert len(places) == len(words) == 5
    assert all(x + 80 <= width and y < height for x, y in places)
