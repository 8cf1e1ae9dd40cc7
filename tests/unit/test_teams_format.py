"""Teams messages: an Adaptive Card in the envelope of a workflow."""

import json
from collections.abc import Iterator
from datetime import timedelta

import pytest
from event_samples import COMMAND, START, TERMINAL, complete, ended, events, receiver
from hypothesis import example, given
from hypothesis import strategies as st

from cambwatch.core.events import Event, Link
from cambwatch.core.formats import FORMATS, Message
from cambwatch.core.model import Json, Status
from cambwatch.core.routing import RateLimit

TEAMS = FORMATS["teams"]
RUN = {"type", "text", "weight", "size", "color", "isSubtle", "selectAction"}


def rendered(event: Event) -> Message:
    return TEAMS.render(event, receiver("teams"), delivery_id="msg_1", at=START)


def card_in(message: Message) -> Json:
    """The card, out of the envelope that a workflow wants."""
    envelope = json.loads(message.body)
    [attachment] = envelope.pop("attachments")
    assert envelope == {"type": "message"}
    card = attachment.pop("content")
    assert attachment == {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None}
    assert message.headers == {"content-type": "application/json"}
    return card


def card_of(event: Event) -> Json:
    return card_in(rendered(event))


def lines_of(card: Json) -> Iterator[str]:
    """What a person reads, a line for each element."""
    for element in card["body"]:
        if element["type"] == "RichTextBlock":
            yield "".join(run["text"] for run in element["inlines"])
        else:
            yield " | ".join(action["title"] for action in element["actions"])


def check_card(card: Json) -> None:
    """Only elements that 1.4 has and Teams shows, none of them empty."""
    assert card["type"] == "AdaptiveCard"
    assert card["version"] == "1.4"
    assert card["fallbackText"].strip()
    assert card["body"]
    for element in card["body"]:
        match element:
            case {"type": "RichTextBlock", "inlines": [*runs]}:
                assert runs
                for run in runs:
                    assert run.keys() <= RUN
                    assert run["text"].strip()
                    if action := run.get("selectAction"):
                        check_url(action["url"])
            case {"type": "ActionSet", "actions": [*actions]}:
                assert 1 <= len(actions) <= 5
                for action in actions:
                    assert action["type"] == "Action.OpenUrl"
                    assert action["title"].strip()
                    check_url(action["url"])
            case _:
                pytest.fail(f"an element that no rule is known for: {element}")


def check_url(url: str) -> None:
    assert url.isascii()
    assert url.lower().startswith(("http://", "https://"))


@given(events)
@example(ended(Status.ERROR, exception_reason='"' * 100, message="\\" * 2000, name="😀" * 2000, kind='"' * 2000))
@example(ended(links=tuple(Link('"' * 200, f"https://a/{n}/" + "y" * 1500) for n in range(50))))
@example(ended(links=tuple(Link("é" * 200, f"https://a/{n}") for n in range(50)), labels={'"': '"' * 5000}))
@example(ended(account="\\" * 2000, labels={f"k{n}": "é" * 500 for n in range(50)}))
def test_teams_cannot_refuse_the_card(event: Event) -> None:
    """Whatever names, messages, labels and links hold: well below 28 KB as it is sent."""
    message = rendered(event)
    assert len(message.body) <= 20_000
    check_card(card_in(message))


@given(events)
@example(ended(Status.ERROR, exception_reason='"' * 100, message="\\" * 2000, name="😀" * 2000, kind='"' * 2000))
def test_plain_form_is_a_card_of_words(event: Event) -> None:
    """A workflow posts nothing else; there is no action in it."""
    message = TEAMS.plain(event, receiver("teams"))
    assert len(message.body) <= 5000
    card = card_in(message)
    check_card(card)
    assert b"OpenUrl" not in message.body
    assert 1 <= len(card["body"]) <= 2


ORDINARY = [
    ended(name="Pilot & friends", links=(Link("Video", "https://a/1?x&y"), Link("Audio", "https://a/2"))),
    ended(Status.ERROR, name="*Second*", exception_reason="TOO_LONG", after=timedelta(minutes=95)),
    complete({"SUCCESS": 1, "ERROR": 1}),
]


def digest_of(found: list[Event], *, late: bool = False) -> Message:
    return TEAMS.digest(found, receiver("teams"), late=late)[0]


@given(st.lists(events, min_size=1, max_size=4), st.integers(1, 15))
@example([ended(kind='"' * 400, links=(Link("é" * 400, "https://a/" + "y" * 2038),))], 50)
@example([ended(kind="😀" * 400)], 50)
def test_teams_cannot_refuse_a_digest(found: list[Event], times: int) -> None:
    """Well below 28 KB as it is sent."""
    message = digest_of(found * times, late=times % 2 == 0)
    assert len(message.body) <= 20_000
    check_card(card_in(message))


def test_digest_reads_well() -> None:
    """A paragraph for each event, which ends with its first link."""
    card = card_in(digest_of(ORDINARY))
    assert list(lines_of(card)) == [
        "⚠️ 3 events on 2026-11-22 between 06:00 and 07:35 UTC",
        "1 succeeded, 1 failed, 1 group complete",
        f'06:00 ✅ Dub "Pilot & friends" succeeded after 41 s · Video · 1 more in the result: {COMMAND}',
        '07:35 ❌ Dub "*Second*" failed after 1 h 35 min: TOO_LONG. Contact support',
        '06:03 ⚠️ Group "season-1" is complete: 1 succeeded, 1 failed',
    ]
    runs = [run for element in card["body"] for run in element["inlines"]]
    assert [(run["text"], run["selectAction"]) for run in runs if "selectAction" in run] == [
        ("Video", {"type": "Action.OpenUrl", "url": "https://a/1?x&y"})
    ]
    assert runs[0]["color"] == "Attention"
    assert card_in(digest_of(ORDINARY[:1]))["body"][0]["inlines"][0]["color"] == "Good"
    assert card["fallbackText"].startswith("⚠️ 3 events on 2026-11-22 between 06:00 and 07:35 UTC: 1 succeeded")


def test_success_has_everything_a_person_needs() -> None:
    """Icon, name, kind, status, duration, action, links; no account where there is but one."""
    event = ended(kind="text-to-voice", name="Narrator", links=(Link("Preview 1", "https://cdn.example/1?a=b&c=d"),))
    card = card_of(event)
    assert list(lines_of(card)) == [
        "✅ Narrator",
        "Kind: Text to voice",
        "Status: SUCCESS",
        "Duration: 41 s",
        "What to do: Listen to the previews and download the voice",
        "Preview 1",
        "Task 6a1f0c9e-58b5-4b8e",
    ]
    [actions] = [element["actions"] for element in card["body"] if element["type"] == "ActionSet"]
    assert actions == [{"type": "Action.OpenUrl", "title": "Preview 1", "url": "https://cdn.example/1?a=b&c=d"}]
    assert card["body"][0]["inlines"][0]["color"] == "Good"
    assert card["fallbackText"].startswith('✅ Text to voice "Narrator" succeeded after 41 s')


def test_failure_tells_reason_message_and_action() -> None:
    """With the labels, the group and the account besides; text runs need no escapes."""
    event = ended(
        Status.ERROR,
        account="studio-b",
        name="*Pilot*",
        exception_reason="SOURCE_TOO_LONG",
        message="At most <2 h & <at>x</at> [x](https://evil.example)",
        labels={"team": "dubbing"},
        group="season-1",
    )
    card = card_of(event)
    assert list(lines_of(card)) == [
        "❌ *Pilot*",
        "Kind: Dub",
        "Status: ERROR",
        "Duration: 41 s",
        "Account: studio-b",
        "SOURCE_TOO_LONG: At most <2 h & <at>x</at> [x](https://evil.example)",
        "What to do: Review the inputs, then start the task again",
        "Task 6a1f0c9e-58b5-4b8e · Group season-1 · team: dubbing",
    ]
    assert card["body"][0]["inlines"][0]["color"] == "Attention"


@pytest.mark.parametrize("status", TERMINAL)
def test_task_without_a_name_is_called_by_kind_and_id(status: Status) -> None:
    """In the first line."""
    assert "Dub 6a1f0c9e…" in next(lines_of(card_of(ended(status))))


def test_first_five_links_are_buttons_and_the_rest_is_text() -> None:
    """In their order, none lost; each opens its URL."""
    event = ended(links=tuple(Link(f"Audio {n}", f"https://a/{n}?x&y") for n in range(50)))
    body = card_of(event)["body"]
    [actions] = [element["actions"] for element in body if element["type"] == "ActionSet"]
    assert [action["url"] for action in actions] == [f"https://a/{n}?x&y" for n in range(5)]
    runs = [element["inlines"][0] for element in body if element["type"] == "RichTextBlock"]
    linked = [(run["text"], run["selectAction"]) for run in runs if "selectAction" in run]
    assert linked == [
        (f"Audio {n}", {"type": "Action.OpenUrl", "url": f"https://a/{n}?x&y"}) for n in range(5, 50)
    ]  # fmt: skip


def test_links_without_room_are_counted() -> None:
    """Other schemes and endless URLs as well."""
    bad = ["javascript:alert(1)", "https://exämple.com/a", "https://a/" + "é" * 6000, "ftp://a", "https://a b"]
    lines = list(lines_of(card_of(ended(links=tuple(Link("X", url) for url in bad)))))
    assert f"5 more in the result: {COMMAND} prints it" in lines
    assert "X" not in lines
    many = ended(links=tuple(Link("X", f"https://a/{n:02}/" + "y" * 1900) for n in range(20)))
    lines = list(lines_of(card_of(many)))
    assert lines.count("X") + lines[5].count("X") == 9
    assert f"11 more in the result: {COMMAND} prints it" in lines


def test_links_fill_the_card_to_its_limit_and_no_further() -> None:
    """However long they are."""
    sizes = set()
    for length in range(200, 900):
        links = tuple(Link('"' * 20, f"https://a/{n:02}/" + "y" * length) for n in range(50))
        sizes.add(len(rendered(ended(links=links)).body))
    assert 19_000 < max(sizes) <= 20_000


def test_group_tells_its_counts() -> None:
    """Two facts and one line."""
    assert list(lines_of(card_of(complete({"SUCCESS": 11, "ERROR": 1})))) == [
        "⚠️ season-1",
        "Tasks: 12",
        "Duration: 3 min",
        'Group "season-1" is complete: 11 succeeded, 1 failed',
    ]


def test_rate_leaves_room_for_others() -> None:
    """What a workflow drops we never hear of."""
    assert TEAMS.rate == RateLimit(1.0, burst=4)
