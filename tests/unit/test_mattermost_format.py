"""Mattermost messages: Markdown of one post."""

import json
import re
from datetime import timedelta

import pytest
from event_samples import COMMAND, START, TERMINAL, complete, ended, events, receiver
from hypothesis import example, given
from hypothesis import strategies as st

from cambwatch.core.events import Event, Link
from cambwatch.core.formats import FORMATS
from cambwatch.core.model import Status
from cambwatch.core.routing import RateLimit

MATTERMOST = FORMATS["mattermost"]
SLACK_LINK = re.compile(r"<([^\n<\|>]+)\|([^\|\n>]+)>")  # what the server itself turns into a link
MENTION = re.compile(r"@[^\W_]|@[-_.]")


def text_of(event: Event) -> str:
    rendered = MATTERMOST.render(event, receiver("mattermost"), delivery_id="msg_1", at=START)
    message = json.loads(rendered.body)
    assert message.keys() == {"text"}
    assert rendered.headers == {"content-type": "application/json"}
    return message["text"]


def check_harmless(text: str) -> None:
    """Neither Slack's links and announcements nor a mention, outside of the URLs of our own links."""
    words = re.sub(r"\]\(https?://[!-~]+\)", "]()", text, flags=re.IGNORECASE)
    assert "<" not in words
    assert not SLACK_LINK.search(text)
    assert not MENTION.search(words)
    assert not re.search(r":[a-zA-Z0-9_+-]+:", words)


@given(events)
@example(ended(Status.ERROR, exception_reason="*" * 100, message="@channel " * 220, name="&" * 2000, kind="_" * 2000))
@example(ended(links=tuple(Link("*" * 200, f"https://a/{n}/" + "y" * 900) for n in range(50))))
@example(ended(links=tuple(Link("&" * 200, "https://a/" + "y" * 4000 + str(n)) for n in range(50))))
@example(ended(labels={f"k{n}": "<!channel>" * 50 for n in range(50)}))
def test_the_server_takes_the_message_as_one_post_that_calls_nobody(event: Event) -> None:
    """Whatever names, messages, labels and links hold."""
    check_text(text_of(event))


def check_text(text: str) -> None:
    assert 1 <= len(text) <= 16_383
    check_harmless(text)
    assert not re.search(r"(?m)^\s*(>|#|\d+[.)]|[+*]\s)", text)  # nothing of others begins a line


@given(events)
@example(ended(name="&" * 2000, kind="@all"))
def test_plain_form_is_one_or_two_lines(event: Event) -> None:
    """With the same escapes."""
    message = json.loads(MATTERMOST.plain(event, receiver("mattermost")).body)
    assert message.keys() == {"text"}
    assert 1 <= len(message["text"]) <= 1200
    assert message["text"].count("\n") <= 1
    check_harmless(message["text"])


ORDINARY = [
    ended(name="Pilot & friends", links=(Link("Video", "https://a/1?x&y"), Link("Audio", "https://a/2"))),
    ended(Status.ERROR, name="*Second*", exception_reason="TOO_LONG", after=timedelta(minutes=95)),
    complete({"SUCCESS": 1, "ERROR": 1}),
]


def digest_of(found: list[Event], *, late: bool = False) -> str:
    message = json.loads(MATTERMOST.digest(found, receiver("mattermost"), late=late)[0].body)
    assert message.keys() == {"text"}
    return message["text"]


@given(st.lists(events, min_size=1, max_size=4), st.integers(1, 15))
@example([ended(kind="&" * 400, links=(Link("&" * 400, "https://a/" + "y" * 4086),))], 50)
@example([ended(Status.ERROR, kind="@channel " * 30, message=":skull:")], 50)
@example([ended(kind=":", name=":", task_id=":")], 50)
def test_the_server_takes_a_digest_as_one_post_that_calls_nobody(found: list[Event], times: int) -> None:
    """Whatever the events hold."""
    check_text(digest_of(found * times, late=times % 2 == 0))


def test_digest_reads_well() -> None:
    """A list whose lines end with the first link of each."""
    assert digest_of(ORDINARY) == (
        "**⚠️ 3 events on 2026-11-22 between 06:00 and 07:35 UTC**\n\n"
        "1 succeeded, 1 failed, 1 group complete\n\n"
        '- 06:00 ✅ Dub "Pilot &amp; friends" succeeded after 41 s · [Video](https://a/1?x&y)'
        f" · 1 more in the result: {COMMAND}\n"
        '- 07:35 ❌ Dub "\\*Second\\*" failed after 1 h 35 min:\u200b TOO\\_LONG. Contact support\n'
        '- 06:03 ⚠️ Group "season-1" is complete:\u200b 1 succeeded, 1 failed'
    )


def test_success_reads_well() -> None:
    """Real Markdown: bold with two stars, links in a list."""
    event = ended(
        kind="text-to-voice", name="Narrator", links=(Link("Preview 1", "https://a/1?x&y"), Link("No", "ftp://a"))
    )
    assert text_of(event) == (
        "**✅ Narrator**\n\n"
        "**Kind:** Text to voice · **Status:** SUCCESS · **Duration:** 41 s\n\n"
        "**What to do:** Listen to the previews and download the voice\n\n"
        "- [Preview 1](https://a/1?x&y)\n"
        "- 1 more in the result: `cambwatch show text-to-voice 6a1f0c9e-58b5-4b8e` prints it\n\n"
        "**Details:** Task 6a1f0c9e-58b5-4b8e"
    )


def test_failure_tells_reason_message_and_action() -> None:
    """With the labels, the group and the account besides."""
    text = text_of(
        ended(
            Status.ERROR,
            account="studio-b",
            name="Pilot",
            exception_reason="SOURCE_TOO_LONG",
            message="At most <2 h & @here",
            labels={"team": "dubbing"},
            group="season-1",
        )
    )
    for expected in (
        "**❌ Pilot**",
        "**Account:** studio-b",
        "❌ SOURCE\\_TOO\\_LONG:\u200b At most &lt;2 h &amp; @\u200bhere",
        "**What to do:** Review the inputs",
        "Task 6a1f0c9e-58b5-4b8e · Group season-1 · team:\u200b dubbing",
    ):
        assert expected in text


@pytest.mark.parametrize("status", TERMINAL)
def test_task_without_a_name_is_called_by_kind_and_id(status: Status) -> None:
    """In the first line."""
    assert "Dub 6a1f0c9e…" in text_of(ended(status)).splitlines()[0]


def test_group_tells_its_counts() -> None:
    """One line and two facts."""
    assert text_of(complete({"SUCCESS": 12})) == (
        "**✅ season-1**\n\n**Tasks:** 12 · **Duration:** 3 min\n\n"
        '✅ Group "season-1" is complete:\u200b 12 succeeded'
    )  # fmt: skip


def test_rate_is_that_of_a_server_that_limits() -> None:
    """Its default where the limit is switched on."""
    assert MATTERMOST.rate == RateLimit(10.0, burst=10)
