"""A message shows every link that fits, and says where the others are."""

import json
import re

import pytest
from event_samples import COMMAND, START, ended, receiver
from hypothesis import given
from hypothesis import strategies as st
from test_slack_format import check_message

from cambwatch.core.camb.results import LONGEST_URL, find_links, is_link
from cambwatch.core.events import Link, TaskEnded
from cambwatch.core.formats import FORMATS
from cambwatch.core.formats.content import LONGEST_COMMAND, LONGEST_ENDPOINT, describe_result_access, show_command
from cambwatch.core.formats.digests import MOST_IN_DIGEST
from cambwatch.core.model import Json, Status

ENDPOINT = "https://client.camb.ai/apis/dub-result/123"
ID = "6a1f0c9e-58b5-4b8e-9d5e-0f4f7d9b1c27"
CHATS = sorted(set(FORMATS) - {"webhook"})
chats = pytest.mark.parametrize("kind", CHATS)
# The longest URL that a message of one link has room for, beside a task without a name.
LONGEST_SHOWN = {
    "apprise": 2990,  # 3000, with its label
    "discord": 4029,  # a description of 4096, with the advice, the label and room for a word about the link
    "google_chat": 29_000,
    "mattermost": 16_000,
    "slack": 3000,
    "teams": 17_000,
}


def url_of(length: int, filler: str = "y") -> str:
    return "https://a/" + filler * (length - 10)


def rendered(kind: str, event: TaskEnded) -> str:
    message = FORMATS[kind].render(event, receiver(kind), delivery_id="msg_1", at=START)
    return json.dumps(json.loads(message.body), ensure_ascii=False)


def with_link(length: int, filler: str = "y", **fields: object) -> TaskEnded:
    return ended(task_id=ID, links=(Link("Video", url_of(length, filler)),), result_endpoint=ENDPOINT, **fields)


@chats
def test_a_link_is_shown_up_to_the_limit_of_the_service(kind: str) -> None:
    shown = [
        length for length in range(100, LONGEST_URL + 1, 97) if url_of(length) in rendered(kind, with_link(length))
    ]
    assert shown == list(range(100, shown[-1] + 1, 97)), "a shorter link has room where a longer one has"
    assert shown[-1] >= min(LONGEST_SHOWN[kind] - 800, LONGEST_URL - 97)


@chats
@pytest.mark.parametrize("filler", ["y", "&", '"', "(", "é"])
@pytest.mark.parametrize("border", [1000, 2000, 2048, 3000, 4000, 4096, 8192, 12_000, 16_383, LONGEST_URL])
@pytest.mark.parametrize("past", [-1, 0, 1])
def test_a_link_is_shown_whole_or_counted_as_left_out(kind: str, filler: str, border: int, past: int) -> None:
    event = with_link(border + past, filler)
    body = rendered(kind, event)
    told = f"1 more in the result: `cambwatch show dub {ID}` prints it, or GET {ENDPOINT}"
    assert ("Video" in body) != (told in body)
    assert len(body.encode()) < 32_000
    if kind == "slack":
        check_message(json.loads(body))


@chats
def test_the_first_presigned_link_of_eight_kilobytes_is_read_from_the_result(kind: str) -> None:
    """Long before it comes to a chat."""
    result = {"output_url": url_of(8192)}
    [link] = find_links(result)
    assert is_link(link.url)
    body = rendered(kind, ended(links=(link,)))
    assert link.url in body or f"1 more in the result: {COMMAND} prints it" in body
    assert (link.url in body) == (kind in {"google_chat", "mattermost", "teams"})


@chats
@pytest.mark.parametrize("length", [20, 200, 1000, 4000])
def test_of_fifty_links_the_message_says_how_many_are_left_out_and_where_they_are(kind: str, length: int) -> None:
    event = ended(
        task_id=ID,
        links=tuple(Link(f"Audio {n}", f"https://a/{n:02}/" + "y" * length) for n in range(50)),
        result_endpoint=ENDPOINT,
    )
    body = rendered(kind, event)
    shown = len(set(re.findall(r"https://a/(\d\d)/y", body)))
    left_out = re.findall(r"(\d+) more in the result: `cambwatch show dub ([\w-]+)` prints it, or GET (\S+?\d)\b", body)
    assert left_out == ([(str(50 - shown), ID, ENDPOINT)] if shown < 50 else [])


@chats
def test_the_plain_form_says_where_the_links_are(kind: str) -> None:
    message = FORMATS[kind].plain(with_link(16_000), receiver(kind))
    assert message is None or f"1 more in the result: `cambwatch show dub {ID}` prints it, or GET {ENDPOINT}" in str(
        json.loads(message.body)
    )


@chats
@pytest.mark.parametrize("past", [-1, 0, 1])
def test_an_entry_of_a_digest_says_how_to_get_at_its_link(kind: str, past: int) -> None:
    """By the command alone: there are many entries."""
    for border in (1000, 2048, 3000, 4096, 8192):
        found = [with_link(border + past, name=f"Pilot {n}") for n in range(MOST_IN_DIGEST)]
        message, count = FORMATS[kind].digest(found, receiver(kind), late=False)
        body = json.dumps(json.loads(message.body), ensure_ascii=False)
        shown = body.count("Video")
        assert shown + body.count(f"1 more in the result: `cambwatch show dub {ID}`") == count


@pytest.mark.parametrize("piece", ['"', "\\", "&", "<", "$", "{", "😀", "ẑ\u0335\u0301"])
@pytest.mark.parametrize("status", [Status.SUCCESS, Status.ERROR])
def test_slack_takes_a_message_whose_every_text_grows_when_it_is_escaped(piece: str, status: Status) -> None:
    """JSON escapes quotes as well; all blocks together have a limit."""
    fields = dict.fromkeys(("name", "kind", "account", "message", "exception_reason", "group"), piece * 5000)
    event = ended(
        status,
        labels={f"{piece * 500}{n}": piece * 500 for n in range(30)},
        links=tuple(Link(piece * 300, f"https://a/{n:02}?{piece * 1500}") for n in range(50)),
        result_endpoint=url_of(LONGEST_ENDPOINT),
        **fields,
    )
    check_message(json.loads(rendered("slack", event)))


def test_slack_takes_buttons_where_a_line_of_text_is_too_long() -> None:
    event = ended(links=(*(Link(f"L{n}", f"https://a/{n}") for n in range(5)), Link("Long", url_of(3000))))
    message = json.loads(rendered("slack", event))
    check_message(message)
    assert [len(block["elements"]) for block in message["blocks"] if block["type"] == "actions"] == [5, 1]


def test_slack_puts_further_links_into_as_many_sections_as_it_takes() -> None:
    event = ended(links=tuple(Link(f"L{n}", f"https://a/{n:02}/" + "y" * 700) for n in range(14)))
    message = json.loads(rendered("slack", event))
    check_message(message)
    assert "more in the result" not in json.dumps(message)


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({}, f"{COMMAND} prints it"),
        ({"result_endpoint": ENDPOINT}, f"{COMMAND} prints it, or GET {ENDPOINT}"),
        ({"account": "studio-b"}, "`cambwatch show dub 6a1f0c9e-58b5-4b8e --account studio-b` prints it"),
        ({"task_id": "two words"}, "`cambwatch show dub 'two words'` prints it"),
        ({"task_id": "a`b", "result_endpoint": ENDPOINT}, f"GET {ENDPOINT}"),
        ({"task_id": "<!channel>"}, None),
        ({"task_id": "@all"}, None),
        ({"task_id": "$HOME"}, None),
        ({"task_id": "--help"}, None),
        ({"task_id": "x" * 20_000}, None),
        ({"task_id": ""}, None),
        ({"result_endpoint": "https://a/" + "y" * 400}, f"{COMMAND} prints it"),
        ({"result_endpoint": "https://a/|b>"}, f"{COMMAND} prints it"),
    ],
)
def test_where_to_get_a_result_can_be_copied(fields: dict[str, Json], where: str | None) -> None:
    """It stands in every service as it is, so it holds nothing that one of them gives a meaning to."""
    assert describe_result_access(ended(**fields)) == where


@given(st.text(), st.text(), st.text(), st.none() | st.text())
def test_where_to_get_a_result_is_short_and_plain(kind, task_id, account, endpoint) -> None:
    event = ended(kind=kind, task_id=task_id, account=account, result_endpoint=endpoint)
    where = describe_result_access(event) or ""
    assert len(where) <= LONGEST_COMMAND + LONGEST_ENDPOINT + 30
    assert where.isascii()
    assert not set(where) & set("<>@*~|#$\\\n")
    assert where.count("`") == (0 if show_command(event) is None else 2)
