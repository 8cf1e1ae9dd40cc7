"""What a service behind Apprise is told: a title and plain text, in which nothing calls anybody."""

import json
import re

import pytest
from event_samples import START, TERMINAL, alerts, complete, ended, events, receiver
from hypothesis import example, given
from hypothesis import strategies as st

from cambwatch.core.events import Event, Link
from cambwatch.core.formats import FORMATS, MOST_IN_DIGEST
from cambwatch.core.formats.message import Message
from cambwatch.core.guidance import summary
from cambwatch.core.model import Status
from cambwatch.core.routing import RateLimit

APPRISE = FORMATS["apprise"]
KEYS = {"title", "body", "type", "overflow"}
MENTION = re.compile(r"@[^\u200b]|<[^\u200b]")


def words_of(message: Message) -> dict[str, str]:
    """What Apprise is called with."""
    assert message.headers == {}
    words = json.loads(message.body)
    assert words.keys() == KEYS
    return words


def told(event: Event) -> dict[str, str]:
    return words_of(APPRISE.render(event, receiver("apprise"), delivery_id="msg_1", at=START))


def test_a_success_says_what_to_do_and_has_its_links() -> None:
    """A line for each thing, the most important first."""
    words = told(ended(name="Narrator", links=(Link("Audio", "https://cdn.example/a?b=c"), Link("", "https://b.c/@d"))))
    title, lines = words["title"], words["body"].split("\n")
    assert title == "✅ Narrator"
    assert lines[0].endswith(summary(ended(name="Narrator")))
    assert "Audio: https://cdn.example/a?b=c" in lines
    assert "Download: https://b.c/%40d" in lines  # no @ that a service could take for a mention
    assert (words["type"], words["overflow"]) == ("success", "truncate")


@pytest.mark.parametrize("status", TERMINAL)
def test_only_success_is_told_as_one(status: Status) -> None:
    """Services show it as a colour."""
    assert told(ended(status))["type"] == ("success" if status is Status.SUCCESS else "failure")


def test_a_group_with_failures_is_a_warning() -> None:
    """A complete one is a success."""
    assert told(complete({"SUCCESS": 2}))["type"] == "success"
    assert told(complete({"SUCCESS": 2, "ERROR": 1}))["type"] == "warning"


def test_a_failure_says_why_and_what_to_do() -> None:
    """Camb's own words, uncut where the line in front cuts them."""
    words = told(ended(Status.ERROR, exception_reason="BAD_INPUT", message="m" * 1000))
    assert f"BAD_INPUT: {'m' * 1000}" in words["body"]
    assert "Review the inputs" in words["body"]


@given(st.one_of(events, alerts))
@example(ended(Status.ERROR, name="<!channel> @here", message="<@U123> @everyone " * 100, kind="@all"))
@example(ended(links=tuple(Link("@all" * 200, f"https://a/{n}/@" + "y" * 900) for n in range(50))))
@example(ended(labels={f"@k{n}": "<!channel>" * 50 for n in range(50)}))
def test_no_message_is_endless_empty_or_calls_anybody(event: Event) -> None:
    """Whatever names, messages, labels and links hold."""
    words = told(event)
    assert 1 <= len(words["title"]) <= 200
    assert 1 <= len(words["body"]) <= 8000
    for text in (words["title"], words["body"]):
        assert not MENTION.search(text + "."), text
    assert "\n" not in words["title"]


@given(st.lists(events, min_size=1, max_size=60), st.booleans())
def test_a_digest_tells_of_the_first_ones_in_full(several: list[Event], late: bool) -> None:  # noqa: FBT001
    """As many as one message of a chat holds, one at least; the rest is for the next message, so nothing is cut off."""
    rendered = APPRISE.digest(several, receiver("apprise"), late=late)
    assert rendered is not None
    message, count = rendered
    assert 1 <= count <= min(len(several), MOST_IN_DIGEST)
    words = words_of(message)
    assert count == 1 or len(words["body"]) <= 3500
    assert words["overflow"] == "split"
    assert words["body"].count("\n") == count
    assert ("This is late" in words["body"].split("\n")[0]) is late
    assert not MENTION.search(words["title"] + words["body"] + ".")
    for line, event in zip(words["body"].split("\n")[1:], several, strict=False):
        assert summary(event).replace("@", "@\u200b").replace("<", "<\u200b") in line


def test_a_digest_of_many_short_ones_is_one_message() -> None:
    """With when, what, and the first link of each."""
    several = [ended(name=f"n{number}", links=(Link("Audio", f"https://a.b/{number}"),)) for number in range(10)]
    message, count = APPRISE.digest(several, receiver("apprise"), late=False)
    words = words_of(message)
    assert count == 10
    assert words["type"] == "success"
    assert re.search(r"^\d\d:\d\d ✅ .*n7.* · Audio: https://a\.b/7$", words["body"], re.MULTILINE)


def test_a_digest_of_many_long_ones_leaves_some_for_the_next() -> None:
    """As many as fit: one more would not."""
    link = Link("Audio", "https://a.b/" + "y" * 400)
    several = [ended(name=f"n{number}", links=(link,)) for number in range(40)]
    message, count = APPRISE.digest(several, receiver("apprise"), late=True)
    body = words_of(message)["body"]
    assert len(body) <= 3500
    assert len(body) + len(body.split("\n")[-1]) + 1 > 3500
    assert 2 < count < 20


def test_there_is_no_plainer_form() -> None:
    """Apprise does not say that a form was refused."""
    assert APPRISE.plain(ended(), receiver("apprise")) is None


def test_one_message_a_second() -> None:
    """What the strictest chats take."""
    assert APPRISE.rate == RateLimit(1.0, burst=1)
