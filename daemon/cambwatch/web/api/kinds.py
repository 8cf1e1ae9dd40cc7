"""What can be watched, how long it took so far, and how often it is asked for."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from aiohttp import web
from pydantic import BaseModel, Field

from cambwatch.core.cadence.cadence_model import CadenceSummary
from cambwatch.core.cadence.estimate import Strategy
from cambwatch.core.cadence.histogram import HALF_LIFE, KEPT_COMPLETIONS, DurationHistogram
from cambwatch.core.cadence.policy import PollPolicy
from cambwatch.core.camb.kinds import KINDS, Kind
from cambwatch.web.api.tasks import json_answer

_FADING = f"of two completions the one that came {HALF_LIFE} earlier counts half"


class LearnedView(BaseModel):
    """What is known of how long tasks take, and what follows from it."""

    strategy: Strategy = Field(description="in force: fixed also where too little is known, or learning does not pay")
    completions: int = Field(description="tasks that were seen to end after they were seen pending")
    median_seconds: float | None
    p95_seconds: float | None
    expected_polls: float | None = Field(
        description="per task under that strategy; null as long as too little is known"
    )
    fixed_polls: float | None = Field(description="per task at the fixed interval")
    estimated_gain: float | None = Field(description="how many times fewer polls the learned strategy needs")


class SizeView(LearnedView):
    """Tasks of a kind that have the same label `size`."""

    size: str


class KindView(LearnedView):
    """A kind of task."""

    kind: str
    title: str
    aliases: list[str]
    status_path: str
    result_paths: list[str]
    needs_extra: list[str] = Field(description="fields of `extra` without which the result cannot be read")
    interval_seconds: float
    deadline_seconds: float
    sizes: list[SizeView]


class KindPage(BaseModel):
    """All kinds."""

    items: list[KindView]


class HistogramBinView(BaseModel):
    """Durations between two bounds, the lower one not within."""

    from_seconds: float
    to_seconds: float
    weight: float = Field(description=f"completions; {_FADING}")


class ObservedDurationView(BaseModel):
    """A task that was pending at one age and had ended at another."""

    pending_seconds: float
    ended_seconds: float


class DurationsView(BaseModel):
    """How long tasks of a kind, or of one of its sizes, took from their registration on, as far as polls showed it."""

    kind: str
    size: str | None = Field(description="the label `size`; null: all tasks of the kind")
    completions: int
    expired: float = Field(description="tasks that were pending still at their deadline, faded as the others are")
    histogram: list[HistogramBinView]
    newest: list[ObservedDurationView] = Field(description=f"up to {KEPT_COMPLETIONS} as they came, oldest first")


class DurationsPage(BaseModel):
    """All that is known."""

    items: list[DurationsView]


class KindStatsSource(Protocol):
    """What knows how long tasks take."""

    def configured(self, kind: str) -> PollPolicy: ...
    def summaries(self) -> Sequence[CadenceSummary]: ...
    def durations(self) -> Iterable[tuple[str, str | None, DurationHistogram]]: ...


class KindEndpoints:
    """What can be asked about kinds."""

    def __init__(self, cadence: KindStatsSource) -> None:
        self._kind_stats = cadence

    async def page(self, _request: web.Request) -> web.StreamResponse:
        """All kinds, with what was learned of each."""
        known: dict[str, list[CadenceSummary]] = {}
        for insight in self._kind_stats.summaries():
            known.setdefault(insight.kind, []).append(insight)
        views = [
            _kind(kind, self._kind_stats.configured(kind.name), known.get(kind.name, ())) for kind in KINDS.values()
        ]
        return json_answer(KindPage(items=views))

    async def durations(self, _request: web.Request) -> web.StreamResponse:
        """How long tasks took, by kind and size: benchmarks/evaluate_cadence.py reads it."""
        return json_answer(DurationsPage(items=[_durations(*known) for known in self._kind_stats.durations()]))


def _kind(kind: Kind, policy: PollPolicy, known: Sequence[CadenceSummary]) -> KindView:
    whole = next((one for one in known if one.size is None), CadenceSummary.empty(kind.name))
    return KindView(
        kind=kind.name,
        title=kind.title,
        aliases=list(kind.aliases),
        status_path=kind.status_path,
        result_paths=[call.path for call in kind.results],
        needs_extra=list(dict.fromkeys(name for call in kind.results for name in call.required_fields)),
        interval_seconds=policy.interval.total_seconds(),
        deadline_seconds=policy.deadline.total_seconds(),
        sizes=[SizeView(size=one.size, **_learned(one)) for one in known if one.size is not None],
        **_learned(whole),
    )


def _learned(insight: CadenceSummary) -> dict[str, Strategy | int | float | None]:
    return {
        "strategy": insight.strategy,
        "completions": insight.completions,
        "median_seconds": _rounded(insight.median_s, 3),
        "p95_seconds": _rounded(insight.p95_s, 3),
        "expected_polls": _rounded(insight.polls, 2),
        "fixed_polls": _rounded(insight.fixed_polls, 2),
        "estimated_gain": _rounded(insight.gain, 2),
    }


def _rounded(number: float | None, digits: int) -> float | None:
    return None if number is None else round(number, digits)


def _durations(kind: str, size: str | None, known: DurationHistogram) -> DurationsView:
    return DurationsView(
        kind=kind,
        size=size,
        completions=known.completions,
        expired=round(known.expired, 3),
        histogram=[
            HistogramBinView(from_seconds=round(low_s, 6), to_seconds=round(high_s, 6), weight=round(weight, 6))
            for low_s, high_s, weight in known.histogram()
        ],
        newest=[
            ObservedDurationView(pending_seconds=round(one.pending_s, 3), ended_seconds=round(one.ended_s, 3))
            for one in known.newest
        ],
    )
