"""Discord messages, within its documented limits."""

import json
from datetime import timedelta

import pytest
from event_samples import COMMAND, START, TERMINAL, complete, ended, events, receiver
from hypothesis import example, given
from hypothesis import strategies as st

from cambwatch.core.events import Event, Link
from cambwatch.core.formats import FORMATS
from cambwatch.core.formats.size_limits import utf16
from cambwatch.core.model import Json, Status
from cambwatch.core.redaction import Secret
from cambwatch.core.routing import RateLimit

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


ORDINARY = [
    ended(name="Pilot & friends", links=(Link("Video", "https://a/1?x&y"), Link("Audio", "https://a/2"))),
    ended(Status.ERROR, name="*Second*", exception_reason="TOO_LONG", after=timedelta(minutes=95)),
    complete({"SUCCESS": 1, "ERROR": 1}),
]


def digest_of(found: list[Event], *, late: bool = False) -> Json:
    return json.loads(DISCORD.digest(found, receiver("discord"), late=late)[0].body)


@given(st.lists(events, min_size=1, max_size=4), st.integers(1, 15))
@example([ended(kind="*" * 400, links=(Link("*" * 400, "https://a/" + "y" * 2038),))], 50)
@example([ended(kind="x" * 400)], 50)
@example([ended(kind="x" * 173)], 49)  # one line more in the first embed would be 4097
@example(
    [
        ended(links=(Link("V", "https://a/" + "y" * 1380),)),
        ended(kind="*" * 400, links=(Link("V", "https://a/" + "y" * 2038),)),
        ended(links=(Link("V", "https://a/" + "y" * 1440),)),
    ],
    1,
)  # in three embeds
def test_discord_cannot_refuse_a_digest(found: list[Event], times: int) -> None:
    """Each embed and all together are within the limits; nobody is called."""
    message = digest_of(found * times, late=times % 2 == 0)
    assert message.keys() == {"embeds", "allowed_mentions"}
    assert message["allowed_mentions"] == NOBODY
    assert 1 <= len(message["embeds"]) <= 10
    first, *others = message["embeds"]
    assert first.keys() == {"title", "description", "color"}
    assert 1 <= utf16(first["title"]) <= 256
    for embed in message["embeds"]:
        assert embed["description"].strip()
        assert utf16(embed["description"]) <= 4096
        assert embed["color"] == first["color"]
    for embed in others:
        assert embed.keys() == {"description", "color"}
        assert embed["description"].startswith("- ")
    assert utf16(first["title"]) + sum(utf16(embed["description"]) for embed in message["embeds"]) <= 6000


def test_digest_is_filled_to_its_limits() -> None:
    """Those of an embed and of all together, to the last unit; the second embed goes on where the first ends."""
    for length, late in ((109, True), (163, False), (170, True)):
        first, second = digest_of([ended(kind="x" * length)] * 40, late=late)["embeds"]
        line = second["description"].splitlines()[0]
        assert utf16(first["description"]) + 1 + utf16(line) > 4096
        whole = sum(utf16(text) for text in (first["title"], first["description"], second["description"]))
        assert whole + 1 + utf16(line) > 6000
        assert utf16(first["description"]) == 4096 or whole == 6000


def test_digest_reads_well() -> None:
    """A list whose lines end with the first link of each; nothing in it is Markdown but that."""
    assert digest_of(ORDINARY)["embeds"] == [
        {
            "title": "⚠️ 3 events on 2026-11-22 between 06\\:00 and 07\\:35 UTC",
            "description": (
                "1 succeeded, 1 failed, 1 group complete\n"
                '- 06:00 ✅ Dub "Pilot \\& friends" succeeded after 41 s'
                f" · [Video](https://a/1?x&y) · 1 more in the result: {COMMAND}\n"
                '- 07:35 ❌ Dub "\\*Second\\*" failed after 1 h 35 min\\: TOO\\_LONG. Contact support\n'
                '- 06:03 ⚠️ Group "season-1" is complete\\: 1 succeeded, 1 failed'
            ),
            "color": 0xE01E5A,
        }
    ]
    assert digest_of(ORDINARY[:1])["embeds"][0]["color"] == 0x2EB67D


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
    assert lines[4:] == [f"- 7 more in the result: {COMMAND} prints it"]


def test_group_tells_its_counts() -> None:
    """One line and two facts, and no footer."""
    words = said(complete({"SUCCESS": 11, "ERROR": 1}))
    for expected in ("⚠️ season-1", 'Group "season-1" is complete\\: 11 succeeded, 1 failed', "Tasks 12", "3 min"):
        assert expected in words
    assert "footer" not in embed_of(complete({"SUCCESS": 1}))


def test_rate_is_thirty_a_minute() -> None:
    """What users have found; the headers of its answers say more."""
    assert DISCORD.rate == RateLimit(0.5, burst=5)


def test_configured_headers_are_sent() -> None:
    """For a gateway in between."""
    destination = receiver("discord", headers={"X-Gateway": Secret("1")})
    message = DISCORD.render(ended(), destination, delivery_id="msg_1", at=START)
    assert message.headers == {"content-type": "application/json", "x-gateway": "1"}
