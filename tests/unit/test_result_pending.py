"""A message about a task whose result could not be read yet says so, and where the result will be."""

import json

import pytest
from event_samples import START, ended, receiver

from cambwatch.core.event_json import event_from_json, event_to_json, notification_body
from cambwatch.core.events import Link
from cambwatch.core.formats import FORMATS
from cambwatch.core.formats.content import message_content

ENDPOINT = "https://client.camb.ai/apis/dub-result/5"
CHATS = sorted(FORMATS.keys() - {"webhook"})
WHERE = f"`cambwatch show dub 6a1f0c9e` prints it, or GET {ENDPOINT}"
SAID = f"The result could not be read yet. cambwatch retries for one more hour: {WHERE}"


def pending(**fields: object):
    return ended(task_id="6a1f0c9e", run_id=5, result_endpoint=ENDPOINT, **{"result_pending": True, **fields})


@pytest.mark.parametrize("kind", CHATS)
def test_a_chat_message_says_where_the_result_will_be(kind: str) -> None:
    message = FORMATS[kind].render(pending(), receiver(kind), delivery_id="msg_1", at=START)
    words = json.dumps(json.loads(message.body), ensure_ascii=False).replace("\\\\", "").replace("\u200b", "")
    for part in ("could not be read yet", "one more hour", "cambwatch show dub 6a1f0c9e", "/apis/dub-result/5"):
        assert part in words, kind
    usual = FORMATS[kind].render(pending(result_pending=False), receiver(kind), delivery_id="msg_1", at=START)
    assert b"could not be read" not in usual.body


def test_nobody_is_told_to_download_what_is_not_there() -> None:
    content = message_content(pending())
    assert content.details == SAID
    assert content.advice == "Read the result later: cambwatch retries for one more hour"
    assert message_content(pending(result_pending=False)).advice == "Download the result"
    half = message_content(pending(links=(Link("Audio", "https://cdn.example/a"),)))
    assert (half.advice, half.details == content.details) == ("Download the result", True)


def test_a_program_is_told_that_the_result_is_pending() -> None:
    data = notification_body(pending())["data"]
    assert (data["result"], data["result_pending"], data["result_endpoint"]) == (None, True, ENDPOINT)


def test_an_event_of_an_older_version_is_not_pending() -> None:
    document = event_to_json(pending())
    assert event_from_json(document) == pending()
    del document["result_pending"]
    assert event_from_json(document) == pending(result_pending=False)
