"""Discord messages, within its documented limits."""

import json

import pytest
from event_samples import START, TERMINAL, complete, ended, events, receiver
from hypothesis import example, given

from cambwatch.core.destinations import Rate
from cambwatch.core.events import Event, Link
from cambwatch.core.formats import FORMATS
from cambwatch.core.formats.fitting import utf16
from cambwatch.core.model import Json, Status
from cambwatch.core.secret import Secret

DISCORD = FORMATS["discord"]
NOBODY = {"parse": []}


def message_of(event: Event) -> Json:
    rendered = DISCORD.render(event, receiver("discord"), delivery_id="msg_1", at=START)
    return json.loads(rendered.body)


def embed_of(event: Event) -> Json:
    [embed] = message_of(event)["embeds"]
    return embed


def said(event: Event) -> str:
    """All that a person reads."""
    embed = embed_of(event)
    fields = [f"{field['name']} {field['value']}" for field in embed["fields"]]
    return "\n".join([embed["title"], embed["description"], *fields, embed.get("footer", {}).get("text", "")])


@given(events)
@example(ended(Status.ERROR, exception_reason="*" * 100, message="*" * 2000, name="*" * 2000, kind="_" * 2000))
@example(ended(links=tuple(Link("*" * 200, f"https://a/{n}/" + "y" * 200) for n in range(50))))
@example(ended(labels={f"k{n}": "&" * 500 for n in range(50)}, account="`" * 500))
@example(
    ended(
        Status.ERROR,
        kind="*" * 2000,
        name="*" * 2000,
        account="*" * 2000,
        message="*" * 2000,
        labels={"a": "*" * 5000},
        links=tuple(Link("*" * 200, f"https://a/{n:02}") for n in range(50)),
    )
)
@example(ended(name="\u3164", kind="\x1b \x1b", task_id="\u2800"))
def test_discord_cannot_refuse_the_message(event: Event) -> None:
    """Whatever names, messages, labels and links hold: every part and the sum of them is within the limits."""
    message = message_of(event)
    assert message.keys() == {"embeds", "allowed_mentions"}
    assert message["allowed_mentions"] == NOBODY
    [embed] = message["embeds"]
    texts = [(embed["title"], 256), (embed["description"], 4096)]
    texts += [(field["name"], 256) for field in embed["fields"]]
    texts += [(field["value"], 1024) for field in embed["fields"]]
    if "footer" in embed:
        texts.append((embed["footer"]["text"], 2048))
    for text, longest in texts:
        assert text.strip()
        assert utf16(text) <= longest
    assert sum(utf16(text) for text, _ in texts) <= 6000
    assert len(embed["fields"]) <= 25
    assert 0 <= embed["color"] <= 0xFFFFFF


@given(events)
@example(ended(name="*" * 2000, links=tuple(Link("*" * 90, f"https://a/{n}/" + "y" * 90) for n in range(50))))
def test_plain_form_is_content_alone(event: Event) -> None:
    """Where embeds are refused; nobody is called by it either."""
    rendered = DISCORD.plain(event, receiver("discord"))
    message = json.loads(rendered.body)
    assert message.keys() == {"content", "allowed_mentions"}
    assert message["allowed_mentions"] == NOBODY
    assert 1 <= utf16(message["content"]) <= 2000
    assert message["content"].strip()
    assert rendered.headers == {"content-type": "application/json"}


def test_success_has_everything_a_person_needs() -> None:
    """Icon, name, kind, status, duration, action, links, the time; no account where there is but one."""
    event = ended(
        kind="text-to-voice", name="Narrator", links=(Link("Preview [1]", "https://cdn.example/1?a=b&c=(d)"),)
    )
    embed = embed_of(event)
    assert embed == {
        "title": "✅ Narrator",
        "description": (
            "**What to do:** Listen to the previews and download the voice\n"
            "- [Preview \\[1\\]](https://cdn.example/1?a=b&c=%28d%29)"
        ),
        "color": 0x2EB67D,
        "fields": [
            {"name": "Kind", "value": "Text to voice", "inline": True},
            {"name": "Status", "value": "SUCCESS", "inline": True},
            {"name": "Duration", "value": "41 s", "inline": True},
        ],
        "footer": {"text": "Task 6a1f0c9e-58b5-4b8e"},
        "timestamp": "2026-11-22T06:00:41.200Z",
    }


def test_failure_tells_reason_message_and_action() -> None:
    """With the labels, the group and the account besides; nothing in it is Markdown but our own words."""
    event = ended(
        Status.ERROR,
        account="studio_b_c",
        name="*Pilot*",
        exception_reason="SOURCE_TOO_LONG",
        message="@everyone: <@1> [x](https://evil.example)",
        labels={"team": "*dubbing*"},
        group="season-1",
    )
    embed = embed_of(event)
    assert embed["title"] == "❌ \\*Pilot\\*"
    assert embed["color"] == 0xE01E5A
    assert embed["description"].splitlines()[0] == (
        "❌ SOURCE\\_TOO\\_LONG\\: @\u200beveryone\\: \\<@\u200b1> \\[x\\](https\\://evil.example)"
    )
    assert {"name": "Account", "value": "studio\\_b\\_c", "inline": True} in embed["fields"]
    assert embed["footer"]["text"] == "Task 6a1f0c9e-58b5-4b8e · Group season-1 · team: *dubbing*"


@pytest.mark.parametrize("status", TERMINAL)
def test_task_without_a_name_is_called_by_kind_and_id(status: Status) -> None:
    """In the title."""
    assert "Dub 6a1f0c9e…" in embed_of(ended(status))["title"]


def test_links_without_room_are_counted() -> None:
    """Other schemes and endless URLs as well; those that have room come in their order."""
    links = (Link("A", "javascript:x"), *(Link(f"L{n}", f"https://a/{n}/" + "y" * 1000) for n in range(9)))
    lines = embed_of(ended(links=links))["description"].splitlines()
    assert [line[:5] for line in lines[1:4]] == ["- [L0", "- [L1", "- [L2"]
    assert lines[4:] == ["- 7 more in the result"]


def test_group_tells_its_counts() -> None:
    """One line and two facts, and no footer."""
    words = said(complete({"SUCCESS": 11, "ERROR": 1}))
    for expected in ("⚠️ season-1", 'Group "season-1" is complete\\: 11 succeeded, 1 failed', "Tasks 12", "3 min"):
        assert expected in words
    assert "footer" not in embed_of(complete({"SUCCESS": 1}))


def test_rate_is_thirty_a_minute() -> None:
    """What users have found; the headers of its answers say more."""
    assert DISCORD.rate == Rate(0.5, burst=5)


def test_configured_headers_are_sent() -> None:
    """For a gateway in between."""
    destination = receiver("discord", headers={"X-Gateway": Secret("1")})
    message = DISCORD.render(ended(), destination, delivery_id="msg_1", at=START)
    assert message.headers == {"content-type": "application/json", "x-gateway": "1"}
