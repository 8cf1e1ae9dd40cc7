"""`cambwatch simulate-cadence`: what each way of polling would cost on tasks like one's own."""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from cambwatch.adapters.terminal import say, say_json
from cambwatch.core.cadence import PollPolicy
from cambwatch.core.durations import ENOUGH
from cambwatch.core.instants import parse_span
from cambwatch.core.learned import Strategy
from cambwatch.rehearsal.equal_probability import equal_probability
from cambwatch.rehearsal.history import History, HistoryError, read_history
from cambwatch.rehearsal.lifetimes import Lifetimes
from cambwatch.rehearsal.optimum import optimum
from cambwatch.rehearsal.plot import Curve, plot
from cambwatch.rehearsal.policies import SHIPPED, Ages, along, in_step
from cambwatch.rehearsal.trial import Figures, Pupil, Sample, at_same_mean, figures

LEARNED_FROM = 0.7  # of a history; the rest judges
GOLDEN = (math.sqrt(5) - 1) / 2  # multiples of it fill [0, 1) evenly
SWEEP = (0.5, 0.8, 1.25, 2.0, 3.0, 5.0)  # times the interval, for the curves of the plot
USAGE = 2
PLAIN_WIDTH = 200  # columns, where there is no terminal

Row = tuple[Figures, Figures]
"""What a policy costs, and what a fixed interval with the same mean delay does."""


def simulate_cadence(
    file: Annotated[
        Path,
        typer.Argument(help="What GET /v1/durations answers, or seconds as JSON array or CSV; - reads standard input."),
    ],
    *,
    interval: Annotated[str, typer.Option(help="polling.interval.")] = "5s",
    min_interval: Annotated[str, typer.Option(help="polling.min_interval.")] = "1s",
    max_interval: Annotated[str, typer.Option(help="polling.max_interval.")] = "2m",
    deadline: Annotated[str, typer.Option(help="polling.deadline.")] = "24h",
    kind: Annotated[list[str] | None, typer.Option(help="Only this kind; may be repeated.")] = None,
    plot_to: Annotated[
        Path | None, typer.Option("--plot", help="Write curves of requests over delay there, as SVG.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """
    Show what ways of polling would cost on tasks that took as long as yours did.

    The first 70 % of the durations are learned from, as the daemon learns; the last 30 %
    judge all policies alike. The saving is against a fixed interval with the same mean
    delay, which is what makes them comparable.

    Two know those 70 % as they are, not as polls show them: "equal probability" asks at their
    quantiles, and "optimum" is the most that can be saved by knowing them.
    """
    policy = PollPolicy(
        interval=_span("--interval", interval),
        min_interval=_span("--min-interval", min_interval),
        max_interval=_span("--max-interval", max_interval),
        deadline=_span("--deadline", deadline),
    )
    if not policy.min_interval <= policy.interval <= policy.max_interval:
        _refuse("--interval must lie between --min-interval and --max-interval")
    histories = [one for one in _read(file) if not kind or one.label.split(" ")[0] in kind]
    if not histories:
        _refuse(f"{file}: nothing of that kind in it" if kind else f"{file}: no durations in it")
    found = {one.label: _compare(one, policy) for one in histories if _enough(one)}
    if plot_to is not None and found:
        panels = {one.label: _curves(one, policy, found[one.label]) for one in histories if one.label in found}
        plot_to.write_text(plot(panels), encoding="utf-8")
    if as_json:
        say_json({label: _as_json(rows) for label, rows in found.items()})
        return
    for one in histories:
        if one.label in found:
            _print(one, found[one.label])
        else:
            say(f"{one.label}: {len(one.durations_s)} durations, which is too few to judge by", err=True)


def _enough(history: History) -> bool:
    return len(history.durations_s) * LEARNED_FROM >= ENOUGH


def _split(history: History) -> tuple[list[Sample], list[Sample]]:
    samples = [(duration_s, index * GOLDEN % 1) for index, duration_s in enumerate(history.durations_s)]
    cut = int(len(samples) * LEARNED_FROM)
    return samples[:cut], samples[cut:]


def _compare(history: History, policy: PollPolicy) -> dict[str, Row]:
    past, future = _split(history)
    pupil = Pupil(policy)
    pupil.learn(past)
    deadline_s = policy.deadline.total_seconds()
    learned = f"learned{'' if pupil.policy.schedule else ' (does not pay: fixed)'}"
    policies: dict[str, Ages] = {
        f"fixed {policy.interval.total_seconds():g} s": along(policy),
        learned: pupil.ages,
        **_knowing(past, policy),
        **SHIPPED,
    }
    rows = {}
    for label, ages in policies.items():
        cost = figures(ages, future, deadline_s=deadline_s)
        rows[label] = (cost, at_same_mean(cost.mean_s, future, deadline_s=deadline_s))
    return rows


def _knowing(past: Sequence[Sample], policy: PollPolicy) -> dict[str, Ages]:
    lifetimes, mean_s = Lifetimes.of([duration_s for duration_s, _ in past]), policy.interval.total_seconds() / 2
    return {
        "equal probability": equal_probability(lifetimes, policy.limits, mean_s=mean_s),
        "optimum": optimum(lifetimes, policy.limits, mean_s=mean_s),
    }


def _curves(history: History, policy: PollPolicy, rows: Mapping[str, Row]) -> list[Curve]:
    past, future = _split(history)
    deadline_s = policy.deadline.total_seconds()
    points: dict[str, list[tuple[float, float]]] = {}
    for times in SWEEP:
        one = replace(policy, interval=policy.interval * times)
        pupil = Pupil(one)
        pupil.learn(past)
        policies = {
            Strategy.FIXED: in_step(one.interval.total_seconds()),
            Strategy.LEARNED: pupil.ages,
            **_knowing(past, one),
        }
        for label, ages in policies.items():
            cost = figures(ages, future, deadline_s=deadline_s)
            points.setdefault(label, []).append((cost.mean_s, cost.requests))
    widest_s = max(mean_s for curve in points.values() for mean_s, _ in curve)
    others = [(cost.mean_s, cost.requests) for label, (cost, _) in rows.items() if label in SHIPPED]
    near = sorted(point for point in others if point[0] <= widest_s)
    curves = [Curve(label, sorted(curve)) for label, curve in points.items()]
    return [*curves, *([Curve("what others ship", near, joined=False)] if near else [])]


def _saving(row: Row) -> float:
    cost, fixed = row
    return 1 - cost.requests / fixed.requests


def _as_json(rows: Mapping[str, Row]) -> dict[str, object]:
    return {
        label: asdict(row[0]) | {"fixed_at_same_mean": asdict(row[1]), "saving": round(_saving(row), 4)}
        for label, row in rows.items()
    }


def _print(history: History, rows: Mapping[str, Row]) -> None:
    drawn = " (drawn out of what is remembered)" if history.drawn else ""
    table = Table(
        "policy", *("requests", "mean s", "p95 s", "p99 s", "fixed, same mean", "saving"),
        box=None, pad_edge=False, header_style="bold",
        title=f"{history.label}: {len(history.durations_s)} durations{drawn}", title_justify="left",
    )  # fmt: skip
    for column in table.columns[1:]:
        column.justify = "right"
    for label, row in rows.items():
        cost, fixed = row
        numbers = (cost.requests, cost.mean_s, cost.p95_s, cost.p99_s, fixed.requests)
        table.add_row(label, *(f"{number:.2f}" for number in numbers), f"{_saving(row):+.0%}")
    width = None if sys.stdout.isatty() else PLAIN_WIDTH
    console = Console(width=width, markup=False, emoji=False, highlight=False)
    with console.capture() as captured:
        console.print(table)
    say(captured.get())


def _read(file: Path) -> Sequence[History]:
    try:
        raw = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        text = raw.decode("utf-8-sig")  # whatever the encoding of the terminal is
        return read_history(text)
    except OSError as error:
        _refuse(f"{file}: {error.strerror}")
    except (HistoryError, UnicodeDecodeError) as error:
        _refuse(f"{file}: {error}")


def _span(option: str, text: str) -> timedelta:
    try:
        found = parse_span(text)
    except ValueError as error:
        _refuse(f"{option}: {error}")
    if not found:
        _refuse(f"{option}: must be longer than nothing")
    return found


def _refuse(why: str) -> NoReturn:
    say(why, err=True)
    raise typer.Exit(USAGE)
