"""Who hears that a destination is down, and which messages are gathered: what can be wrong with that."""

from datetime import timedelta

import pytest
from config_samples import config, mistakes

KEY = "camb: {api_key: abcdef}\n"
SLACK = "{type: slack, url: https://a.b}"


def test_what_is_left_out_is_as_documented() -> None:
    """Nobody hears, after a quarter of an hour; each event by itself."""
    found = config(f"destinations: {{a: {SLACK}}}\n").destinations["a"]
    assert (found.fallback, found.alert_after, found.digest) == (None, timedelta(minutes=15), None)


def test_what_is_written_is_kept() -> None:
    """Spans as everywhere."""
    own = "{type: slack, url: https://a.b, fallback: b, alert_after: 1m, digest: 30s}"
    found = config(f"destinations: {{a: {own}, b: {SLACK}}}\n").destinations["a"]
    assert (found.fallback, found.alert_after, found.digest) == ("b", timedelta(minutes=1), timedelta(seconds=30))


@pytest.mark.parametrize(
    ("destinations", "mistake"),
    [
        (
            "{team-a: {type: slack, url: https://a.b, fallback: team-c}, team-b: " + SLACK + "}",
            "2:66: destinations.team-a.fallback: unknown destination 'team-c' (did you mean team-b?)",
        ),
        (
            "{a: {type: slack, url: https://a.b, fallback: a}}",
            "2:61: destinations.a.fallback: is this destination itself: name one that works when this one does not",
        ),
        (
            "{a: {type: slack, url: https://a.b, alert_after: 0s}}",
            "2:64: destinations.a.alert_after: must be longer than nothing",
        ),
        (
            "{a: {type: webhook, url: https://a.b, digest: 30s}}",
            "2:53: destinations.a.digest: is for chats: a program gets every event by itself",
        ),
    ],
)
def test_a_mistake_is_told(destinations: str, mistake: str) -> None:
    """With its place."""
    [line] = mistakes(KEY + f"destinations: {destinations}\n")
    assert line.startswith(mistake)


def test_a_template_must_be_able_to_tell_of_a_destination_only_if_it_is_a_fallback() -> None:
    """Only then it is ever asked to."""
    guarded = "\"{{ (data.task_id ~ 'x') | tojson if data.task_id is defined else data.group | tojson }}\""
    of_tasks = f"b: {{type: webhook, url: https://a.b, template: {guarded}}}"
    assert mistakes(KEY + f"destinations: {{a: {SLACK}, {of_tasks}}}\n") == []
    [line] = mistakes(KEY + f"destinations: {{a: {{type: slack, url: https://a.b, fallback: b}}, {of_tasks}}}\n")
    assert "fails on cambwatch.destination.down, whose data has destination, summary" in line
    assert line.endswith("(it is the fallback of a)")


def test_a_template_of_a_fallback_must_make_json() -> None:
    """Of what it hears as a fallback, too."""
    odd = '"{{ data.group | tojson if data.group is defined else data.task_id | tojson if data.task_id is defined }}"'
    of_all = f"b: {{type: webhook, url: https://a.b, template: {odd}}}"
    [line] = mistakes(KEY + f"destinations: {{a: {{type: slack, url: https://a.b, fallback: b}}, {of_all}}}\n")
    assert "makes no JSON of cambwatch.destination.down" in line
