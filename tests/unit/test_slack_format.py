"""Slack messages, which Slack's own client validates."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from event_samples import COMMAND, TERMINAL, complete, ended, events, receiver
from hypothesis import example, given
from hypothesis import strategies as st
from slack_sdk.models.blocks import Block

from cambwatch.core.events import Event, Link
from cambwatch.core.formats import FORMATS
from cambwatch.core.model import Json, Status
from cambwatch.core.redaction import Secret
from cambwatch.core.routing import RateLimit

AT = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
SLACK_LINK = re.compile(r"<https?://[!-;=?-{}~]+\|[^<>\n]+>")  # no space, no < > |
ENTITY = re.compile(r"&(amp|lt|gt);")


def message_of(event: Event) -> Json:
    rendered = FORMATS["slack"].render(event, receiver("slack"), delivery_id="msg_1", at=AT)
    return json.loads(rendered.body.decode("utf-8"))


def texts_in(value: Json) -> Iterator[dict[str, Json]]:
    """Every text object."""
    match value:
        case {"type": "plain_text" | "mrkdwn"}:
            yield value
        case dict():
            for child in value.values():
                yield from texts_in(child)
        case list():
            for child in value:
                yield from texts_in(child)


def said(event: Event) -> str:
    """All that a person reads, one text a line."""
    return "\n".join(text["text"] for text in texts_in(message_of(event)["blocks"]))


def units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def size(blocks: list[Json]) -> int:
    """As they are sent."""
    return units(json.dumps(blocks, ensure_ascii=False, separators=(",", ":")))


def check_limits(blocks: list[Json]) -> None:
    assert 1 <= len(blocks) <= 50
    assert size(blocks) <= 12_000
    for block in blocks:
        match block:
            case {"type": "header", "text": {"type": "plain_text", "text": text}}:
                assert 1 <= units(text) <= 150
            case {"type": "section", "text": {"text": text}}:
                assert 1 <= units(text) <= 3000
                if "accessory" in block:
                    check_button(block["accessory"])
            case {"type": "section", "fields": fields}:
                assert 1 <= len(fields) <= 10
                assert all(1 <= units(field["text"]) <= 2000 for field in fields)
            case {"type": "context", "elements": elements}:
                assert 1 <= len(elements) <= 10
                assert all(1 <= units(element["text"]) <= 3000 for element in elements)
            case {"type": "actions", "elements": elements}:
                assert 1 <= len(elements) <= 5
                for button in elements:
                    check_button(button)
            case _:
                pytest.fail(f"a block that no rule is known for: {block}")


def check_button(button: Json) -> None:
    assert button["type"] == "button"
    assert 1 <= units(button["text"]["text"]) <= 75
    assert button["url"].isascii()
    assert len(button["url"]) <= 3000
    assert button["url"].lower().startswith(("http://", "https://"))


def check_escaped(words: str, *, may_link: bool) -> None:
    """Nothing but our own links has a meaning to Slack."""
    bare = SLACK_LINK.sub(lambda found: found[0][1:-1], words) if may_link else words
    assert "<" not in bare
    assert ">" not in bare
    assert "&" not in ENTITY.sub("", bare)


@given(events)
@example(ended(links=tuple(Link("&" * 100, f"https://a/{n}/" + "&" * 1400) for n in range(50))))
@example(ended(links=tuple(Link(f"L{n}", f"https://a/{n}") for n in range(50))))
@example(ended(links=tuple(Link("<b>&|" * 30, f"https://a/{n}") for n in range(50))))
@example(ended(links=tuple(Link("1234567", f"https://a/{n:02}" + "y" * 1478) for n in range(50))))  # two: 3001 units
@example(ended(Status.ERROR, exception_reason="RR", message="😀" * 2000))  # fills a section to the last unit
@example(ended(labels={f"k{n}": "&" * 500 for n in range(50)}, name="&" * 5000))
def test_slack_cannot_refuse_the_message(event: Event) -> None:
    """Whatever names, messages, labels and links hold."""
    check_message(message_of(event))


def check_message(message: Json) -> None:
    """Slack's own client finds nothing wrong, nor do we."""
    assert message.keys() == {"text", "blocks"}
    assert 1 <= units(message["text"]) <= 3000
    check_escaped(message["text"], may_link=False)
    parsed = Block.parse_all(message["blocks"])
    assert len(parsed) == len(message["blocks"])
    for block in parsed:
        block.validate_json()
        block.to_dict()  # validates what is inside, too
    check_limits(message["blocks"])
    for text in texts_in(message["blocks"]):
        check_escaped(text["text"], may_link=text["type"] == "mrkdwn")
        assert text["text"].strip()
        assert text.get("verbatim", True) is True
        assert text.get("emoji", False) is False


@given(events)
@example(ended(name="&" * 2000, links=tuple(Link("<b>&|" * 30, f"https://a/{n}?&&&") for n in range(50))))
def test_plain_form_is_text_alone(event: Event) -> None:
    """Cut by rendered size as well, with nothing of a meaning but our own links."""
    rendered = FORMATS["slack"].plain(event, receiver("slack"))
    message = json.loads(rendered.body)
    assert message.keys() == {"text"}
    assert 1 <= units(message["text"]) <= 3000
    check_escaped(message["text"], may_link=True)
    assert rendered.headers == {"content-type": "application/json"}


def test_plain_form_keeps_the_links_that_have_room() -> None:
    """People still get at their result."""
    links = tuple(Link(f"Part {n}", f"https://a/{n}?" + "x" * 900) for n in range(9))
    rendered = FORMATS["slack"].plain(ended(links=links), receiver("slack"))
    lines = json.loads(rendered.body)["text"].splitlines()
    assert lines[:2] == ["✅ Dub 6a1f0c9e… succeeded after 41 s", "Download the result"]
    assert [line[-8:] for line in lines[2:5]] == ["|Part 0>", "|Part 1>", "|Part 2>"]
    assert lines[5:] == [f"6 more in the result: {COMMAND} prints it"]


ORDINARY = [
    ended(name="Pilot & friends", links=(Link("Video", "https://a/1?x&y"), Link("Audio", "https://a/2"))),
    ended(Status.ERROR, name="*Second*", exception_reason="TOO_LONG", after=timedelta(minutes=95)),
    complete({"SUCCESS": 1, "ERROR": 1}),
]


def digest_of(found: list[Event], *, late: bool = False) -> Json:
    return json.loads(FORMATS["slack"].digest(found, receiver("slack"), late=late)[0].body)


@given(st.lists(events, min_size=1, max_size=4), st.integers(1, 15))
@example([ended(kind="<" * 400, links=(Link("&" * 400, "https://a/" + "y" * 2990),))], 50)
@example([ended(kind="😀" * 400, links=(Link("😀" * 400, "https://a/" + "y" * 2990),))], 50)
@example([ended(kind="x" * 400)], 50)
def test_slack_cannot_refuse_a_digest(found: list[Event], times: int) -> None:
    """Senders have met a limit of all blocks together, of some 13,000 characters."""
    message = digest_of(found * times, late=times % 2 == 0)
    check_message(message)
    assert size(message["blocks"]) <= 12_000


def test_button_of_a_digest_takes_a_url_of_three_thousand() -> None:
    """A longer one is left out."""
    longest = "https://a/" + "y" * 2990
    found = [ended(links=(Link("One too many", f"{longest}y"), Link("Video", longest)))] * 2
    sections = digest_of(found)["blocks"][2:]
    assert [section["accessory"]["url"] for section in sections] == [longest] * 2


def test_digest_reads_well() -> None:
    """A line for each event, a button for its first link, and nothing in it has a meaning to Slack."""
    message = digest_of(ORDINARY)
    assert [text["text"] for text in texts_in(message["blocks"])] == [
        "⚠️ 3 events on 2026-11-22 between 06:00 and 07:35 UTC",
        "1 succeeded, 1 failed, 1 group complete",
        f'06:00 ✅ Dub "Pilot &amp; friends" succeeded after 41 s · 1 more in the result: {COMMAND}',
        "Video",
        '07:35 ❌ Dub "*Second*" failed after 1 h 35 min: TOO_LONG. Contact support',
        '06:03 ⚠️ Group "season-1" is complete: 1 succeeded, 1 failed',
    ]
    assert {text["type"] for text in texts_in(message["blocks"])} == {"plain_text"}
    assert message["blocks"][2]["accessory"]["url"] == "https://a/1?x&y"
    assert message["text"] == (
        "⚠️ 3 events on 2026-11-22 between 06:00 and 07:35 UTC: 1 succeeded, 1 failed, 1 group complete"
    )


def test_success_has_everything_a_person_needs() -> None:
    """Icon, name, kind, status, duration, action, links; no account where there is but one."""
    event = ended(kind="text-to-voice", name="Narrator", links=(Link("Preview 1", "https://cdn.example/1?a=b&c=d"),))
    message = message_of(event)
    assert message["blocks"][0]["text"]["text"] == "✅ Narrator"
    words = said(event)
    for expected in (
        "Text to voice",
        "SUCCESS",
        "41 s",
        "Listen to the previews",
        "Preview 1",
        "Task 6a1f0c9e-58b5-4b8e",
    ):
        assert expected in words
    assert "Account" not in words
    [button] = next(block["elements"] for block in message["blocks"] if block["type"] == "actions")
    assert button["url"] == "https://cdn.example/1?a=b&c=d"
    assert message["text"].startswith('✅ Text to voice "Narrator" succeeded after 41 s')


def test_failure_tells_reason_message_and_action() -> None:
    """With the labels, the group and the account besides."""
    words = said(
        ended(
            Status.ERROR,
            account="studio-b",
            name="Pilot",
            exception_reason="SOURCE_TOO_LONG",
            message="At most <2 h & no more",
            labels={"team": "dubbing"},
            group="season-1",
        )
    )
    for expected in (
        "❌ Pilot",
        "SOURCE_TOO_LONG: At most &lt;2 h &amp; no more",
        "Review the inputs",
        "studio-b",
        "team: dubbing",
        "Group season-1",
    ):
        assert expected in words


@pytest.mark.parametrize("status", [Status.ERROR, Status.TIMEOUT, Status.PAYMENT_REQUIRED])
def test_failure_without_a_message_says_contact_support(status: Status) -> None:
    """So that nobody stands before an empty box."""
    assert "Contact support" in said(ended(status))


@pytest.mark.parametrize("status", TERMINAL)
def test_task_without_a_name_is_called_by_kind_and_id(status: Status) -> None:
    """In the header."""
    assert "Dub 6a1f0c9e…" in message_of(ended(status))["blocks"][0]["text"]["text"]


def test_first_five_links_are_buttons_and_the_rest_is_text() -> None:
    """In their order, none lost."""
    event = ended(links=tuple(Link(f"Audio {n}", f"https://a/{n}?x&y") for n in range(50)))
    blocks = message_of(event)["blocks"]
    [actions] = [block for block in blocks if block["type"] == "actions"]
    assert [button["url"] for button in actions["elements"]] == [f"https://a/{n}?x&y" for n in range(5)]
    rest = "\n".join(block["text"]["text"] for block in blocks if block["type"] == "section" and "text" in block)
    assert re.findall(r"<https://a/(\d+)\?x&amp;y\|Audio \1>", rest) == [str(n) for n in range(5, 50)]


def test_links_without_room_are_counted() -> None:
    """Other schemes, hosts that Slack may refuse and endless URLs as well."""
    bad = ["javascript:alert(1)", "https://exämple.com/a", "https://a/" + "é" * 600, "ftp://a", "https://a b"]
    event = ended(links=tuple(Link("X", url) for url in bad))
    assert f"5 more in the result: {COMMAND} prints it" in said(event)
    assert "X" not in said(event).replace("EXPIRED", "")
    many = said(ended(links=tuple(Link("X", f"https://a/{n}/" + "y" * 2900) for n in range(20))))
    assert f"17 more in the result: {COMMAND} prints it" in many  # all blocks together have a limit, too


def test_link_cannot_break_out_of_its_brackets() -> None:
    """< > | and quotes in a URL are percent-encoded; what was encoded stays as it was."""
    url = 'https://a/%20<b>|"é'
    event = ended(links=(Link("A", url),) * 6)
    blocks = message_of(event)["blocks"]
    [actions] = [block for block in blocks if block["type"] == "actions"]
    assert actions["elements"][0]["url"] == "https://a/%20%3Cb%3E%7C%22%C3%A9"
    assert "<https://a/%20%3Cb%3E%7C%22%C3%A9|A>" in said(event)


def test_too_many_labels_are_counted() -> None:
    """A footnote has at most ten parts."""
    assert "and 12 more" in said(ended(labels={f"k{n}": "v" for n in range(20)}))


def test_group_tells_its_counts() -> None:
    """One line and two facts."""
    words = said(complete({"SUCCESS": 11, "ERROR": 1}))
    for expected in ("⚠️ season-1", 'Group "season-1" is complete: 11 succeeded, 1 failed', "*Tasks*\n12", "3 min"):
        assert expected in words


def test_rate_is_one_message_a_second() -> None:
    """Slack's own limit of an incoming webhook."""
    assert FORMATS["slack"].rate == RateLimit(1.0, burst=1)


def test_configured_headers_are_sent() -> None:
    """For a gateway in between; Slack itself needs nothing but the type."""
    destination = receiver("slack", headers={"X-Gateway": Secret("1")})
    message = FORMATS["slack"].render(ended(), destination, delivery_id="msg_1", at=AT)
    assert message.headers == {"content-type": "application/json", "x-gateway": "1"}
