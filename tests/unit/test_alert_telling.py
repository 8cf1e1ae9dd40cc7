"""What is told of a destination that is down, and of one that is back."""

import json
from datetime import timedelta

import pytest
from event_samples import START, alert, alerts, receiver
from hypothesis import given
from lines import is_line

from cambwatch.core.events import DestinationAlert
from cambwatch.core.formats import FORMATS
from cambwatch.core.formats.content import GREEN, RED, message_content
from cambwatch.core.guidance import alert_advice, alert_icon, summary
from cambwatch.core.model import Outcome

LOOK = "Look at the receiver: cambwatch tries on, and nothing that waits is lost"
ADVICE = {
    Outcome.ACCEPTED: LOOK,
    Outcome.ACCEPTED_UNVERIFIED: LOOK,
    Outcome.RATE_LIMITED: "It wants fewer messages: use a digest, or ask its owner for more",
    Outcome.TRANSIENT: LOOK,
    Outcome.PAYLOAD_REJECTED: LOOK,
    Outcome.DESTINATION_GONE: "Make its webhook anew, and put the new URL into the configuration",
    Outcome.AUTH: "Its URL or credentials are refused: put good ones into the configuration",
    Outcome.POLICY: "A rule forbids it: look at its attempts for the reason",
    Outcome.OURS: "The trouble is on our side: look at the log of cambwatch",
}
DOWN = 'Destination "team-slack" has taken nothing for 20 min (last: transient, HTTP 503): 3 waiting'
BACK = 'Destination "team-slack" takes messages again after 20 min: 3 waiting'


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_has_an_advice_while_it_lasts(outcome: Outcome) -> None:
    """What is over needs none."""
    assert alert_advice(alert(outcome=outcome)) == ADVICE[outcome]
    assert alert_advice(alert(outcome=outcome, recovered=True)) is None


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (alert(), DOWN),
        (alert(recovered=True), BACK),
        (alert(recovered=True, waiting=0), BACK.replace("3 waiting", "nothing waits")),
        (alert(http_status=None, waiting=0), DOWN.replace(", HTTP 503", "").replace("3 waiting", "nothing waits")),
        (alert(outcome=Outcome.AUTH, http_status=403), DOWN.replace("transient, HTTP 503", "auth, HTTP 403")),
        (alert(at=START + timedelta(days=3)), DOWN.replace("20 min", "3 d")),
    ],
)
def test_summary_says_since_when_why_and_what_waits(event: DestinationAlert, line: str) -> None:
    """In one line."""
    assert summary(event) == line


def test_telling_has_name_and_state_in_its_heading() -> None:
    """A siren and red while it is down, a tick and green when it is back."""
    down, back = message_content(alert()), message_content(alert(recovered=True))
    assert (down.title, down.color, down.details) == ("🚨 Destination down: team-slack", RED, DOWN)
    assert (back.title, back.color, back.details) == ("✅ Destination back: team-slack", GREEN, BACK)
    assert down.facts == back.facts == (("Waiting", "3"), ("Duration", "20 min"))
    assert down.words == f"🚨 {DOWN}\n{LOOK}"
    assert back.words == f"✅ {BACK}"


@given(alerts)
def test_an_alert_is_always_about_something(event: DestinationAlert) -> None:
    """A name of nothing but control characters is a question mark."""
    content = message_content(event)
    assert content.title.startswith(f"{alert_icon(event)} Destination {'back' if event.recovered else 'down'}: ")
    assert content.heading.partition(": ")[2].strip()
    assert is_line(content.heading)


ESCAPED = {  # DOWN as it is sent, before JSON
    "slack": DOWN,
    "discord": DOWN.replace(":", "\\:"),
    "teams": DOWN,
    "google_chat": DOWN,
    "mattermost": DOWN.replace(":", ":\u200b"),
}


@pytest.mark.parametrize("kind", ESCAPED)
def test_every_chat_is_told_what_is_down_and_what_to_do(kind: str) -> None:
    """By a message and by words alone; an alert has no links and no task."""
    service, destination = FORMATS[kind], receiver(kind)
    rich = service.render(alert(), destination, delivery_id="msg_1", at=START)
    plain = service.plain(alert(), destination)
    for message in (rich, plain):
        body = json.dumps(json.loads(message.body), ensure_ascii=False)
        assert json.dumps(ESCAPED[kind], ensure_ascii=False)[1:-1] in body
        assert "cambwatch tries on" in body
        assert "more in the result" not in body
        assert "Task" not in body
    words = rich.body.decode()
    for expected in ("What to do:", "Waiting", "Duration", "20 min", "team-slack"):
        assert expected in words
    assert b"What to do" not in service.render(alert(recovered=True), destination, delivery_id="msg_1", at=START).body


def test_the_plain_form_is_two_lines() -> None:
    """What happened, and what to do."""
    message = FORMATS["slack"].plain(alert(), receiver("slack"))
    assert json.loads(message.body) == {"text": f"🚨 {DOWN}\n{LOOK}"}
