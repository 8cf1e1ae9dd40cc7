"""docs/monitoring: rules that promtool is content with, and no query for a metric that does not exist."""

import json
import re
from pathlib import Path

import pytest
import yaml
from scraped import FAMILIES, LABELS, names_in, promtool

DOCS = Path(__file__).resolve().parents[2] / "docs"
FOLDER = DOCS / "monitoring"
PROMISED = {"CambwatchNoPolls", "CambwatchDeliveryDelayed", "CambwatchAccountPaused", "CambwatchDestinationDown",
            "CambwatchDiskNearlyFull", "CambwatchRequestBudgetExceeded"}  # fmt: skip
OF_GRAFANA = {"job", "instance"}


def rules():
    (group,) = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    return group["rules"]


def panels():
    return [one for one in json.loads((FOLDER / "dashboard.json").read_text())["panels"] if one["type"] != "row"]


def queries():
    """By what they are for."""
    found = [(rule["alert"], rule["expr"]) for rule in rules()]
    return found + [(panel["title"], target["expr"]) for panel in panels() for target in panel["targets"]]


def test_promtool_is_content_with_the_rules():
    assert "FAILED" not in promtool("check", "rules", "--lint=all", "--lint-fatal", "alerts.yml", folder=FOLDER)


def test_the_rules_do_what_they_say():
    """Those of alerts_test.yml: each fires when it should, and none when all is well."""
    promtool("test", "rules", "alerts_test.yml", folder=FOLDER)


def test_every_rule_is_tried():
    """Once that it fires, and once that it does not."""
    tests = yaml.safe_load((FOLDER / "alerts_test.yml").read_text())["tests"]
    tried = [(one["alertname"], bool(one.get("exp_alerts"))) for test in tests for one in test["alert_rule_test"]]
    names = {rule["alert"] for rule in rules()}
    assert names >= PROMISED
    assert {(name, fires) for name in names for fires in (True, False)} == set(tried)


@pytest.mark.parametrize(("purpose", "query"), queries())
def test_every_query_asks_for_what_exists(purpose, query):
    """By the names of FAMILIES, and by labels that are there."""
    names = names_in(query)
    assert names <= FAMILIES.keys(), purpose
    assert names or query == 'up{job="cambwatch"} == 0'
    used = re.findall(r"[{,]\s*(\w+)\s*=", query) + re.findall(r"{{(\w+)}}", query)
    grouped = re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", query)
    used += [label.strip() for labels in grouped for label in labels.split(",")]
    assert set(used) <= LABELS | OF_GRAFANA, purpose
    for name in names:  # a counter is only of use as a rate, a histogram as its buckets
        endings = set(re.findall(rf"\b{name}(_\w+)?\b", query))
        assert endings == {{"counter": "_total", "histogram": "_bucket"}.get(FAMILIES[name], "")}, purpose


def test_the_dashboard_shows_all_that_there_is():
    """But for what only says how the process began, and how many files it may open."""
    shown = {name for panel in panels() for target in panel["targets"] for name in names_in(target["expr"])}
    assert FAMILIES.keys() - shown == {"process_start_time_seconds", "process_max_fds", "process_open_fds"}


def test_the_dashboard_can_be_imported():
    """Panels have numbers and places of their own, and take their data from where the user says."""
    dashboard = json.loads((FOLDER / "dashboard.json").read_text())
    assert [one["name"] for one in dashboard["templating"]["list"]] == ["datasource", "job", "instance"]
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(numbers)) == len(numbers)
    taken = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    for panel in panels():
        for one in (panel, *panel["targets"]):
            assert one["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_the_table_of_the_documentation_is_complete():
    """Every metric of ours has its row, under the name that a query needs."""
    named = set(re.findall(r"`((?:cambwatch|process)_\w+)", (DOCS / "monitoring.md").read_text()))
    endings = {"counter": "_total"}
    ours = {name + endings.get(kind, "") for name, kind in FAMILIES.items() if name.startswith("cambwatch")}
    assert ours <= named
    assert {re.sub(r"_total$", "", name) for name in named} <= FAMILIES.keys()
