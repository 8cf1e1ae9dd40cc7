"""/metrics, read as Prometheus reads it."""

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from api import Api
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

FAMILIES = {
    "cambwatch_account_budget_left_requests": "gauge",
    "cambwatch_account_budget_limited": "gauge",
    "cambwatch_account_budget_ratio": "gauge",
    "cambwatch_account_overdue_seconds": "gauge",
    "cambwatch_account_paused": "gauge",
    "cambwatch_account_retry_after_seconds": "gauge",
    "cambwatch_breaker_state": "gauge",
    "cambwatch_build_info": "gauge",
    "cambwatch_database_read_duration_seconds": "histogram",
    "cambwatch_database_size_bytes": "gauge",
    "cambwatch_database_trouble": "gauge",
    "cambwatch_database_write_duration_seconds": "histogram",
    "cambwatch_deliveries": "counter",
    "cambwatch_deliveries_oldest_pending_age_seconds": "gauge",
    "cambwatch_deliveries_pending": "gauge",
    "cambwatch_delivery_attempts": "counter",
    "cambwatch_delivery_delay_seconds": "histogram",
    "cambwatch_delivery_duration_seconds": "histogram",
    "cambwatch_detection_delay_seconds": "histogram",
    "cambwatch_filesystem_free_bytes": "gauge",
    "cambwatch_filesystem_size_bytes": "gauge",
    "cambwatch_log_lines_dropped": "counter",
    "cambwatch_loop_lag_seconds": "histogram",
    "cambwatch_poll_duration_seconds": "histogram",
    "cambwatch_poll_lateness_seconds": "histogram",
    "cambwatch_polls": "counter",
    "cambwatch_tasks": "gauge",
    "cambwatch_tasks_concluded": "counter",
    "cambwatch_tasks_watched": "gauge",
    "process_cpu_seconds": "counter",
    "process_max_fds": "gauge",
    "process_open_fds": "gauge",
    "process_resident_memory_bytes": "gauge",
    "process_start_time_seconds": "gauge",
}
"""All that there is: alerts and dashboards of users are made of these names. A counter is shown with `_total`."""

LABELS = {"kind", "outcome", "status", "account", "destination", "state", "le", "version", "python"}


class Scraped:
    """One answer of /metrics."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.families: Mapping[str, Metric] = {one.name: one for one in text_string_to_metric_families(text)}
        self._values = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families.values()
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float:
        """The value of the one sample *name* with exactly these *labels*."""
        return self._values[f"cambwatch_{name}", frozenset(labels.items())]

    def total(self, name: str, **labels: str) -> float:
        """The sum of all samples *name* that have these *labels*, whatever others they have."""
        return sum(
            value
            for (sample, its), value in self._values.items()
            if sample == f"cambwatch_{name}" and labels.items() <= dict(its).items()
        )


async def scrape(api: Api) -> Scraped:
    """GET /metrics."""
    answer = await api.get("/metrics")
    assert answer.status == 200
    return Scraped(answer.body.decode())


def names_in(query: str) -> set[str]:
    """What a PromQL query asks for of cambwatch or its process, without the endings of histograms and counters."""
    names = re.findall(r"\b(?:cambwatch|process)_\w+", re.sub(r'"[^"]*"', "", query))
    return {re.sub(r"_(bucket|sum|count|total)$", "", name) for name in names}


def promtool(*arguments: str, folder: Path | None = None, standard_input: str | None = None) -> str:
    """What promtool has to say; skips the test where it is not installed, fails it where promtool is not content."""
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    done = subprocess.run(
        [tool, *arguments], cwd=folder, input=standard_input, text=True, check=False, capture_output=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
