"""Several events in one chat message: what holds for every service."""

import json
import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from itertools import pairwise

import pytest
from event_samples import START, alert, complete, ended, events, receiver
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lines import is_line

from cambwatch.core.events import Event, Link
from cambwatch.core.formats import FORMATS, MOST_IN_DIGEST, Message, discord, google_chat, mattermost, slack
from cambwatch.core.formats.content import message_content
from cambwatch.core.formats.digests import Digest, build_digest
from cambwatch.core.formats.size_limits import NO_ESCAPES, Escapes, escape, utf16
from cambwatch.core.guidance import guidance_for, summary
from cambwatch.core.model import Json, Status

CHATS: dict[str, Escapes] = {
    "slack": slack.ESCAPES,
    "discord": discord.ESCAPES,
    "teams": NO_ESCAPES,
    "google_chat": google_chat.HTML,
    "mattermost": mattermost.ESCAPES,
}
PICTURE = "https://cdn.example/" + "p" * 280
several = st.builds(lambda found, times: found * times, st.lists(events, min_size=1, max_size=3), st.integers(1, 15))
chats = pytest.mark.parametrize("kind", CHATS)


def digest(kind: str, found: Sequence[Event], *, late: bool = False) -> tuple[Message, int]:
    made = FORMATS[kind].digest(found, receiver(kind), late=late)
    assert made is not None
    return made


def entries_of(kind: str, message: Message) -> list[str]:
    """What stands in the message after its heading, an event a line, as it is sent; links are left out."""
    body = json.loads(message.body)
    match kind:
        case "slack":
            return [block["text"]["text"] for block in body["blocks"] if block["type"] == "section"]
        case "teams":
            elements = body["attachments"][0]["content"]["body"][2:]
            return ["".join(run["text"] for run in element["inlines"]) for element in elements]
        case "google_chat":
            texts = [widget["decoratedText"] for widget in body["cardsV2"][0]["card"]["sections"][0]["widgets"][1:]]
            return [f"{text['topLabel']} {text['text']}" for text in texts]
        case "discord":
            text = "\n".join(embed["description"] for embed in body["embeds"])
        case _:
            text = body["text"]
    return [line.removeprefix("- ") for line in text.splitlines() if line.startswith("- ")]


def digest_alone(found: Sequence[Event], *, late: bool = False, longest_url: int = 100) -> Digest:
    return build_digest(found, late=late, longest_url=longest_url, fits=lambda _: True)


@settings(max_examples=50)  # each is for five services
@given(found=several, late=st.booleans())
@example(found=[ended()], late=False)
@example(found=[ended()] * 60, late=True)
@example(found=[ended(Status.ERROR, name="&" * 400, kind="@" * 400, message="*" * 400)] * 60, late=True)
@example(found=[ended(Status.ERROR, name="😀" * 400, kind="😀" * 400, message="😀" * 400)] * 60, late=True)
@example(found=[ended(kind="\\" * 400, links=(Link('"' * 400, "https://a/" + "y" * 2038),))] * 60, late=True)
@example(found=[ended(kind="<" * 400, links=(Link("<" * 400, "https://a/" + "y" * 2990),))] * 60, late=True)
@example(found=[*[ended(name=f"E{n}", links=(Link("V", PICTURE),)) for n in range(60)], alert()], late=False)
def test_the_first_events_are_told_whole_and_in_their_order(*, found: list[Event], late: bool) -> None:
    """At least one, at most forty, each by its time in UTC, icon and summary, escaped and uncut; nothing of others."""
    for kind, escapes in CHATS.items():
        message, told = digest(kind, found, late=late)
        assert 1 <= told <= min(len(found), MOST_IN_DIGEST), kind
        if told < len(found):
            assert digest(kind, found[:told], late=late) == (message, told), kind
        entries = entries_of(kind, message)
        assert len(entries) == told, kind
        for event, entry in zip(found, entries, strict=False):
            clock, rest = re.match(r"(?:\d{4}-\d\d-\d\d )?(\d\d:\d\d) (.*)", entry).groups()
            assert clock == f"{event.finished_at:%H:%M}", kind
            assert rest.startswith(f"{message_content(event).icon} {escape(summary(event), escapes)}"), kind


@chats
def test_short_events_are_told_by_forty(kind: str) -> None:
    """The rest goes into the next message."""
    found = [ended(name=f"Episode {n}") for n in range(60)]
    message, told = digest(kind, found)
    assert told == MOST_IN_DIGEST == 40
    assert "Episode 39" in entries_of(kind, message)[-1]


SIZES: dict[str, tuple[int, Callable[[Message], int]]] = {
    "slack": (
        slack.BLOCKS,
        lambda message: len(json.dumps(json.loads(message.body)["blocks"], ensure_ascii=False, separators=(",", ":"))),
    ),
    "discord": (discord.EMBEDS, lambda message: sum(utf16(text) for text in embed_texts(json.loads(message.body)))),
    "teams": (20_000, lambda message: len(message.body)),
    "google_chat": (google_chat.MESSAGE, lambda message: len(message.body)),
    "mattermost": (mattermost.TEXT, lambda message: len(json.loads(message.body)["text"])),
}


def embed_texts(message: Json) -> list[str]:
    return [embed[key] for embed in message["embeds"] for key in ("title", "description") if key in embed]


@chats
@pytest.mark.parametrize("length", [650, 777, 1000, 1500, 1999])
def test_a_message_is_filled_to_its_limit_and_no_further(kind: str, length: int) -> None:
    """One more event would have been too many, wherever there are fewer than forty."""
    limit, size_of = SIZES[kind]
    found = [ended(name=f"Episode {n:02}", links=(Link("Video", "https://a/" + "y" * length),)) for n in range(60)]
    message, told = digest(kind, found)
    assert told < MOST_IN_DIGEST
    shorter = [ended(name=f"Episode {n:02}", links=(Link("Video", "https://a/y"),)) for n in range(60)]
    entry = size_of(digest(kind, shorter[:3])[0]) - size_of(digest(kind, shorter[:2])[0]) + length - 1
    assert size_of(message) <= limit < size_of(message) + entry


@chats
def test_an_event_is_followed_by_its_first_link_that_can_be_opened(kind: str) -> None:
    """And by a word about the others; where none can be opened, by that alone."""
    links = (Link("No", "javascript:x"), Link("Video", "https://a/1?b&c=(d)"), Link("Audio", "https://a/2"))
    found = [ended(name="A", links=links), ended(name="B", links=(Link("Far", "https://a/" + "y" * 5000),))]
    body = digest(kind, found)[0].body.decode()
    assert body.count("https://a/") == 1
    assert "https://a/1?b&c=%28d%29" in body
    assert body.count("Video") == 1
    for absent in ("No", "javascript", "Audio", "Far"):
        assert absent not in body
    assert body.index("Video") < body.rindex("1 more in the result")
    assert body.count("2 more in the result") == body.count("1 more in the result") == 1


@chats
def test_a_link_without_a_label_is_called_something(kind: str) -> None:
    """As in a message of its own."""
    assert "Download" in digest(kind, [ended(links=(Link("\x1b", "https://a/1"),))] * 2)[0].body.decode()


@chats
def test_only_what_is_late_says_so(kind: str) -> None:
    """Once, in words."""
    found = [ended(), ended()]
    late = digest(kind, found, late=True)[0].body.decode()
    assert "2 succeeded. This is late: the channel could not be reached in time" in late
    assert "late" not in digest(kind, found, late=False)[0].body.decode()


@chats
def test_configured_headers_are_sent(kind: str) -> None:
    """As with every message."""
    assert digest(kind, [ended()] * 2)[0].headers == {"content-type": "application/json"}
    destination = receiver(kind, headers={"X-Gateway": receiver(kind).url})
    assert "x-gateway" in FORMATS[kind].digest([ended()] * 2, destination, late=False)[0].headers


def test_a_program_gets_every_event() -> None:
    """A plain webhook has no digests."""
    assert FORMATS["webhook"].digest([ended(), ended()], receiver("webhook"), late=True) is None


DAY = timedelta(days=1)
MIDNIGHT = ended(after=timedelta(hours=18))


@pytest.mark.parametrize(
    ("found", "title", "lead"),
    [
        ([ended()], "✅ 1 task ended on 2026-11-22 at 06:00 UTC", "1 succeeded"),
        (
            [ended(), ended(Status.ERROR, after=timedelta(minutes=95)), ended()],
            "⚠️ 3 tasks ended on 2026-11-22 between 06:00 and 07:35 UTC",
            "2 succeeded, 1 failed",
        ),
        (
            [ended(), MIDNIGHT],
            "✅ 2 tasks ended between 2026-11-22 06:00 and 2026-11-23 00:00 UTC",
            "2 succeeded",
        ),
        (
            [ended(after=DAY), ended()],  # a day apart at the same hour, and not in order
            "✅ 2 tasks ended between 2026-11-22 06:00 and 2026-11-23 06:00 UTC",
            "2 succeeded",
        ),
        ([complete({"SUCCESS": 2})], "✅ 1 group completed on 2026-11-22 at 06:03 UTC", "1 group complete"),
        (
            [complete({"SUCCESS": 2}), complete({"ERROR": 2})],
            "⚠️ 2 groups completed on 2026-11-22 at 06:03 UTC",
            "2 groups complete",
        ),
        (
            [alert(), alert(), alert(recovered=True)],
            "⚠️ 3 destination alerts on 2026-11-22 at 06:20 UTC",
            "2 destinations down, 1 destination back",
        ),
        ([alert(recovered=True)], "✅ 1 destination alert on 2026-11-22 at 06:20 UTC", "1 destination back"),
        (
            [alert(), complete({"SUCCESS": 1}), ended(Status.EXPIRED), ended()],
            "⚠️ 4 events on 2026-11-22 between 06:00 and 06:20 UTC",
            "1 succeeded, 1 expired, 1 group complete, 1 destination down",
        ),
        (
            [ended(Status.ERROR, exception_reason="PAYMENT_REQUIRED"), ended(Status.PAYMENT_REQUIRED)],
            "⚠️ 2 tasks ended on 2026-11-22 at 06:00 UTC",
            "2 stopped for lack of credits",
        ),
    ],
)
def test_heading_says_how_many_of_what_when_and_how_it_went(found: list[Event], title: str, lead: str) -> None:
    """The date is always there; a digest of one minute names no span."""
    made = digest_alone(found)
    assert (made.title, made.lead) == (title, lead)
    assert made.words == f"{title}: {lead}"


def test_times_have_their_date_where_there_are_several_days() -> None:
    """And are in UTC wherever the clock that was read was."""
    made = digest_alone([ended(), MIDNIGHT])
    assert [made.clock(entry) for entry in made.entries] == ["2026-11-22 06:00", "2026-11-23 00:00"]
    elsewhere = datetime(2026, 11, 23, 8, 30, tzinfo=timezone(timedelta(hours=9)))
    made = digest_alone([alert(at=elsewhere)])
    assert [made.clock(entry) for entry in made.entries] == ["23:30"]
    assert "on 2026-11-22 at 23:30 UTC" in made.title


@pytest.mark.parametrize("status", Status)
def test_counts_use_the_words_of_a_groups_summary(status: Status) -> None:
    """Every status has its own, and every icon of a task is known."""
    assert guidance_for("dub", status, None).icon
    assert digest_alone([ended(status)]).lead == summary(complete({status: 1})).partition(": ")[2]


@settings(max_examples=50)
@given(several)
def test_heading_is_short_and_ours(found: list[Event]) -> None:
    """So that no service has to cut it."""
    made = digest_alone(found, late=True)
    assert len(made.title) <= 120
    assert len(made.words) <= 400
    assert is_line(made.words)


def test_most_that_fits_is_told() -> None:
    """Neither more nor fewer, with one where nothing fits."""
    found = [ended(after=timedelta(minutes=n)) for n in range(60)]
    for most in range(45):
        told = build_digest(found, late=False, longest_url=1, fits=lambda some, most=most: len(some.entries) <= most)
        assert len(told.entries) == min(max(most, 1), 40)
        assert all(before.at <= after.at for before, after in pairwise(told.entries))
        assert told.entries[0].at == START
