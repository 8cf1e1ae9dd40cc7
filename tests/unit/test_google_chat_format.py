"""Google Chat messages: a card, and its words for where no card is shown."""

import html
import json
import re
from datetime import timedelta

import pytest
from event_samples import COMMAND, START, TERMINAL, complete, ended, events, receiver
from hypothesis import example, given
from hypothesis import strategies as st

from cambwatch.core.events import Event, Link
from cambwatch.core.formats import FORMATS
from cambwatch.core.formats.size_limits import utf16
from cambwatch.core.model import Json, Status
from cambwatch.core.routing import RateLimit

CHAT = FORMATS["google_chat"]
TAG = re.compile(r"</?b>")
ENTITY = re.compile(r"&(amp|lt|gt);")
LINK = re.compile(r"<https?://[!-;=?-{}~]+\|[^<>|\n]+>", re.IGNORECASE)


def message_of(event: Event) -> Json:
    rendered = CHAT.render(event, receiver("google_chat"), delivery_id="msg_1", at=START)
    assert len(rendered.body) <= 32_000
    assert rendered.headers == {"content-type": "application/json"}
    return json.loads(rendered.body)


def widgets_of(event: Event) -> list[Json]:
    [card] = message_of(event)["cardsV2"]
    [section] = card["card"]["sections"]
    return section["widgets"]


def lines_of(event: Event) -> list[str]:
    """What a person reads, a line for each widget."""
    lines = []
    for widget in widgets_of(event):
        match widget:
            case {"decoratedText": {"topLabel": name, "text": text}}:
                lines.append(f"{name}: {html.unescape(text)}")
            case {"textParagraph": {"text": text}}:
                lines.append(html.unescape(TAG.sub("", text)))
            case {"buttonList": {"buttons": buttons}}:
                lines.append(" | ".join(button["text"] for button in buttons))
    return lines


def check_html(text: str) -> None:
    """Nothing but our own bold has a meaning."""
    bare = TAG.sub("", text)
    assert text.strip()
    assert "<" not in bare
    assert ">" not in bare
    assert "&" not in ENTITY.sub("", bare)


def check_button(button: Json) -> None:
    assert button["text"].strip()
    assert button["onClick"]["openLink"]["url"].isascii()


@given(events)
@example(ended(Status.ERROR, exception_reason="<" * 100, message="&" * 2000, name="😀" * 2000, kind="&" * 2000))
@example(ended(links=tuple(Link("😀" * 200, f"https://a/{n}/" + "y" * 1500) for n in range(50))))
@example(ended(labels={f"k{n}": "&" * 500 for n in range(50)}, account="<" * 2000))
def test_google_chat_cannot_refuse_the_message(event: Event) -> None:
    """Whatever names, messages, labels and links hold."""
    check_message(message_of(event))


def check_message(message: Json) -> None:
    """A card of widgets that are known, none of them empty, and words for where no card is shown."""
    assert message.keys() == {"cardsV2", "fallbackText"}
    assert 1 <= utf16(message["fallbackText"]) <= 4096
    assert "<" not in message["fallbackText"]
    [card] = message["cardsV2"]
    assert card["cardId"]
    assert card["card"]["header"]["title"].strip()
    [section] = card["card"]["sections"]
    assert 1 <= len(section["widgets"]) <= 100
    for widget in section["widgets"]:
        match widget:
            case {"decoratedText": {"text": text} as decorated}:
                check_html(text)
                assert decorated["wrapText"] is True
                if "button" in decorated:
                    check_button(decorated["button"])
            case {"textParagraph": {"text": text}}:
                check_html(text)
            case {"buttonList": {"buttons": [*buttons]}}:
                assert buttons
                for button in buttons:
                    check_button(button)
            case _:
                pytest.fail(f"a widget that no rule is known for: {widget}")


@given(events)
@example(ended(name="<users/all>" * 200, links=tuple(Link("<|>" * 90, f"https://a/{n}?&&&") for n in range(50))))
def test_plain_form_is_text_alone(event: Event) -> None:
    """Which calls nobody: what others have chosen holds no bracket."""
    rendered = CHAT.plain(event, receiver("google_chat"))
    message = json.loads(rendered.body)
    assert message.keys() == {"text"}
    assert 1 <= utf16(message["text"]) <= 4096
    bare = LINK.sub("", message["text"])
    assert "<" not in bare
    assert ">" not in bare


def test_plain_form_keeps_the_links_that_have_room() -> None:
    """In the form of Google Chat's own links."""
    links = (Link("A <b>", "https://a/1?x&y"), Link("B", "ftp://a"), *[Link("C", "https://a/" + "c" * 1990)] * 3)
    text = json.loads(CHAT.plain(ended(name="<users/all>", links=links), receiver("google_chat")).body)["text"]
    lines = text.splitlines()
    assert lines[0] == '✅ Dub "‹users/all›" succeeded after 41 s'
    assert lines[2] == "<https://a/1?x&y|A ‹b›>"
    assert [line[-3:] for line in lines[3:]] == ["|C>", " it"]
    assert lines[-1] == f"3 more in the result: {COMMAND} prints it"


ORDINARY = [
    ended(name="Pilot & friends", links=(Link("Video", "https://a/1?x&y"), Link("Audio", "https://a/2"))),
    ended(Status.ERROR, name="*Second*", exception_reason="TOO_LONG", after=timedelta(minutes=95)),
    complete({"SUCCESS": 1, "ERROR": 1}),
]


def digest_of(found: list[Event], *, late: bool = False) -> Json:
    message, _ = CHAT.digest(found, receiver("google_chat"), late=late)
    assert len(message.body) <= 30_000
    return json.loads(message.body)


@given(st.lists(events, min_size=1, max_size=4), st.integers(1, 15))
@example([ended(kind="&" * 400, links=(Link("😀" * 400, "https://a/" + "y" * 2038),))], 50)
@example([ended(kind="😀" * 400)], 50)
def test_google_chat_cannot_refuse_a_digest(found: list[Event], times: int) -> None:
    """A widget for each event is far from the hundred that a card may have."""
    check_message(digest_of(found * times, late=times % 2 == 0))


def test_digest_reads_well() -> None:
    """The time above, what is left out below, the first link beside."""
    message = digest_of(ORDINARY)
    [card] = message["cardsV2"]
    assert card["card"]["header"] == {"title": "⚠️ 3 events on 2026-11-22 between 06:00 and 07:35 UTC"}
    assert card["card"]["sections"][0]["widgets"] == [
        {"textParagraph": {"text": "1 succeeded, 1 failed, 1 group complete"}},
        {
            "decoratedText": {
                "topLabel": "06:00",
                "text": '✅ Dub "Pilot &amp; friends" succeeded after 41 s',
                "wrapText": True,
                "bottomLabel": f"1 more in the result: {COMMAND}",
                "button": {"text": "Video", "onClick": {"openLink": {"url": "https://a/1?x&y"}}},
            }
        },
        {
            "decoratedText": {
                "topLabel": "07:35",
                "text": '❌ Dub "*Second*" failed after 1 h 35 min: TOO_LONG. Contact support',
                "wrapText": True,
            }
        },
        {
            "decoratedText": {
                "topLabel": "06:03",
                "text": '⚠️ Group "season-1" is complete: 1 succeeded, 1 failed',
                "wrapText": True,
            }
        },
    ]
    assert message["fallbackText"] == (
        "⚠️ 3 events on 2026-11-22 between 06:00 and 07:35 UTC: 1 succeeded, 1 failed, 1 group complete"
    )


def test_success_has_everything_a_person_needs() -> None:
    """Icon, name, kind, status, duration, action, links; no account where there is but one."""
    event = ended(kind="text-to-voice", name="Narrator", links=(Link("Preview 1", "https://cdn.example/1?a=b&c=d"),))
    [card] = message_of(event)["cardsV2"]
    assert card["card"]["header"] == {"title": "✅ Narrator"}
    assert lines_of(event) == [
        "Kind: Text to voice",
        "Status: SUCCESS",
        "Duration: 41 s",
        "What to do: Listen to the previews and download the voice",
        "Preview 1",
        "Task 6a1f0c9e-58b5-4b8e",
    ]
    [buttons] = [widget["buttonList"]["buttons"] for widget in widgets_of(event) if "buttonList" in widget]
    assert buttons == [{"text": "Preview 1", "onClick": {"openLink": {"url": "https://cdn.example/1?a=b&c=d"}}}]
    assert message_of(event)["fallbackText"].startswith('✅ Text to voice "Narrator" succeeded after 41 s')


def test_failure_tells_reason_message_and_action() -> None:
    """With the labels, the group and the account besides."""
    event = ended(
        Status.ERROR,
        account="studio-b",
        name="Pilot",
        exception_reason="SOURCE_TOO_LONG",
        message="At most <2 h & <a href=x>y</a> <users/all>",
        labels={"team": "dubbing"},
        group="season-1",
    )
    assert lines_of(event) == [
        "Kind: Dub",
        "Status: ERROR",
        "Duration: 41 s",
        "Account: studio-b",
        "SOURCE_TOO_LONG: At most <2 h & <a href=x>y</a> <users/all>",
        "What to do: Review the inputs, then start the task again",
        "Task 6a1f0c9e-58b5-4b8e · Group season-1 · team: dubbing",
    ]


@pytest.mark.parametrize("status", TERMINAL)
def test_task_without_a_name_is_called_by_kind_and_id(status: Status) -> None:
    """In the header."""
    [card] = message_of(ended(status))["cardsV2"]
    assert "Dub 6a1f0c9e…" in card["card"]["header"]["title"]


def test_links_without_room_are_counted() -> None:
    """Other schemes, endless URLs, and more buttons than anybody wants."""
    bad = ["javascript:alert(1)", "https://exämple.com/a", "https://a/" + "é" * 6000, "ftp://a", "https://a b"]
    lines = lines_of(ended(links=tuple(Link("X", url) for url in bad)))
    assert f"5 more in the result: {COMMAND} prints it" in lines
    assert "X" not in lines
    assert f"10 more in the result: {COMMAND} prints it" in lines_of(
        ended(links=tuple(Link("X", f"https://a/{n}") for n in range(50)))
    )
    many = lines_of(ended(links=tuple(Link("X", f"https://a/{n:02}/" + "y" * 1900) for n in range(20))))
    assert f"6 more in the result: {COMMAND} prints it" in many


def test_group_tells_its_counts() -> None:
    """Two facts and one line."""
    assert lines_of(complete({"SUCCESS": 11, "ERROR": 1})) == [
        "Tasks: 12",
        "Duration: 3 min",
        'Group "season-1" is complete: 11 succeeded, 1 failed',
    ]


def test_rate_is_one_message_a_second() -> None:
    """Of a space, whoever sends it."""
    assert CHAT.rate == RateLimit(1.0, burst=1)
