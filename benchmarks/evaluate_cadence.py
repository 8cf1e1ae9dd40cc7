"""
What polling policies would cost on tasks that take as long as yours did.

    curl -s http://127.0.0.1:8787/v1/durations > durations.json
    python benchmarks/evaluate_cadence.py durations.json --plot cadence.svg

The file holds the answer of GET /v1/durations, a JSON array of seconds, or seconds
separated by white space, oldest first. A kind needs 60 observed tasks: 30 to learn
from, and 30 to judge by. benchmarks/README.md explains the table.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from cadence_evaluation.comparison import Comparison, compare, curves, why_not_judged
from cadence_evaluation.durations_file import (
    WHOLE_LIST,
    DurationBins,
    DurationsFileError,
    ObservedDurations,
    read_durations,
)
from cadence_evaluation.plot import plot
from cambwatch.core.cadence.policy import PollPolicy
from cambwatch.core.instants import parse_duration

LEGEND = """
saving: requests saved against a fixed interval with the same mean delay. Compare it only between rows of like delay.
optimum, equal probability: they know how long the judging tasks take, and have the mean delay of learned. cambwatch
cannot know that: optimum is the most that any schedule within the limits saves at that delay."""
KEPT = "learned: saves too little here, so cambwatch keeps the fixed interval."
NOTHING_JUDGED = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate what *arguments*, by default those of the process, say; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="the durations; - reads standard input")
    parser.add_argument("--interval", type=_span, default="5s", help="polling.interval (default: %(default)s)")
    parser.add_argument("--min-interval", type=_span, default="1s", help="polling.min_interval (default: %(default)s)")
    parser.add_argument("--max-interval", type=_span, default="2m", help="polling.max_interval (default: %(default)s)")
    parser.add_argument("--deadline", type=_span, default="24h", help="polling.deadline (default: %(default)s)")
    parser.add_argument("--kind", action="append", help="evaluate only this kind; may be repeated")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write curves of requests over delay there, as SVG")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    options = parser.parse_args(arguments)
    policy = PollPolicy(
        interval=options.interval,
        min_interval=options.min_interval,
        max_interval=options.max_interval,
        deadline=options.deadline,
    )
    if not policy.min_interval <= policy.interval <= policy.max_interval:
        parser.error("--interval must lie between --min-interval and --max-interval: change one of the three")
    try:
        found = _read(options.file)
    except (OSError, UnicodeDecodeError, DurationsFileError) as error:
        parser.error(f"cannot read {options.file}: {error}")
    wanted = [one for one in found if not options.kind or one.label.split(" ")[0] in options.kind]
    if not wanted:
        parser.error(f"{options.file} has no durations{' of that kind' if options.kind else ' yet'}")
    doubts = {one.label: why_not_judged(one, policy) for one in wanted}
    compared = {one.label: compare(one, policy) for one in wanted if doubts[one.label] is None}
    if options.plot is not None and compared:
        panels = {one.label: curves(one, policy, compared[one.label].rows) for one in wanted if one.label in compared}
        options.plot.write_text(plot(panels), encoding="utf-8")
    if options.json:
        print(json.dumps({one.label: _as_json(one, compared.get(one.label), doubts) for one in wanted}, indent=2))
    else:
        for one in wanted:
            _show(one, compared.get(one.label), doubts)
        if compared:
            print(LEGEND)
    return 0 if compared else NOTHING_JUDGED


def _read(file: str) -> list[ObservedDurations]:
    raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    return read_durations(raw.decode("utf-8-sig"))


def _as_json(one: ObservedDurations, found: Comparison | None, doubts: dict[str, str | None]) -> dict[str, object]:
    return {
        "observed": one.observed,
        "not_judged": doubts[one.label],
        "learning_pays": found and found.pays,
        "policies": found and {name: row.as_json() for name, row in found.rows.items()},
    }


def _show(one: ObservedDurations, found: Comparison | None, doubts: dict[str, str | None]) -> None:
    title = f"{'all tasks' if one.label == WHOLE_LIST else one.label}: {one.observed} observed"
    if found is None:
        print(f"{title}, {doubts[one.label]}.")
        return
    drawn = ", in a histogram: tasks drawn from it" if isinstance(one, DurationBins) else ""
    print(f"\n{title}{drawn}")
    print(
        f"{'policy':32} {'requests':>9} {'mean s':>7} {'p95 s':>7} {'p99 s':>7} {'fixed, same mean':>17} {'saving':>7}"
    )
    for name, row in found.rows.items():
        cost = row.cost
        print(
            f"{name:32} {cost.requests:9.2f} {cost.mean_s:7.2f} {cost.p95_s:7.2f} {cost.p99_s:7.2f} "
            f"{row.fixed.requests:17.2f} {row.saving:+7.0%}"
        )
    if not found.pays:
        print(KEPT)


def _span(text: str) -> timedelta:
    try:
        found = parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if not found:
        raise argparse.ArgumentTypeError("must be greater than zero")
    return found


if __name__ == "__main__":
    sys.exit(main())
