"""
Witnesses that are not ours: Microsoft's reader of Adaptive Cards, and Discord's API as types.

Both are fetched by npm in the exact versions of witnesses/package-lock.json, without running
any script of theirs; where that cannot be, the tests are skipped and say so.
"""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from event_samples import PIECES, START, TERMINAL, alert, complete, ended, receiver

from cambwatch.core.events import Event, Link
from cambwatch.core.formats import FORMATS
from cambwatch.core.model import Json

WITNESSES = Path(__file__).with_name("witnesses")
TYPED = """import type { RESTPostAPIWebhookWithTokenJSONBody } from "discord-api-types/v10";
const bodies: RESTPostAPIWebhookWithTokenJSONBody[] = %s;
export default bodies;
"""


def samples() -> list[Event]:
    """Every status plain, and in one event after the other all that is nasty, everywhere at once."""
    links = tuple(Link(f"Part {n}", f"https://cdn.example/{n}?a=b&c=(d)") for n in range(9))
    found: list[Event] = [ended(status, links=links, message="<b>", account="studio-b") for status in TERMINAL]
    for number, (piece, times) in enumerate(PIECES):
        text = piece * times
        status = TERMINAL[number % len(TERMINAL)]
        fields = dict.fromkeys(("kind", "task_id", "name", "group", "message", "exception_reason", "account"), text)
        found.append(ended(status, labels={text: text}, links=(Link(text, f"https://a/{text}"), *links) * 6, **fields))
    groups = [complete({"SUCCESS": 11, "ERROR": 1}), complete({"SUCCESS": 1}, "\x1b")]
    return [*found, *groups, alert(), alert(recovered=True)]


def bodies(kind: str) -> list[Json]:
    """All that is sent for the samples: both forms, and digests of all, of the nasty ones and of one each."""
    service, destination = FORMATS[kind], receiver(kind)
    rich = [service.render(event, destination, delivery_id="msg_1", at=START) for event in samples()]
    plain = [service.plain(event, destination) for event in samples()]
    lists = [samples(), samples()[len(TERMINAL) :], *([event] for event in samples())]
    digests = [service.digest(found, destination, late=True)[0] for found in lists]
    return [json.loads(message.body) for message in (*rich, *plain, *digests)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where the witnesses are installed."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("node and npm are not here: the witnesses of the chat formats cannot be asked")
    found = tmp_path_factory.mktemp("witnesses")
    for file in WITNESSES.iterdir():
        shutil.copy(file, found)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--fetch-retries=0"]
    try:
        subprocess.run(command, cwd=found, check=True, capture_output=True, timeout=45)
    except (subprocess.SubprocessError, OSError):
        pytest.skip("npm could not fetch the witnesses of the chat formats: is there a network?")
    return found


def ask(folder: Path, *command: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(["node", *command], cwd=folder, input=given, capture_output=True, text=True, check=False)


def judged(folder: Path, cards: list[Json]) -> list[Json]:
    asked = ask(folder, "cards.js", given=json.dumps(cards))
    assert asked.returncode == 0, asked.stderr
    return json.loads(asked.stdout)


def test_microsofts_reader_finds_nothing_wrong_with_a_card(folder: Path) -> None:
    """As a card of version 1.4; every element is one that it knows, and none is lost."""
    cards = [body["attachments"][0]["content"] for body in bodies("teams")]
    for card, said in zip(cards, judged(folder, cards), strict=True):
        assert said["problems"] == []
        assert texts_in(said["read"]["body"]) == texts_in(card["body"])


def test_microsofts_reader_would_find_something(folder: Path) -> None:
    """So that the test above is about something."""
    [said] = judged(folder, [{"type": "AdaptiveCard", "version": "1.4", "body": [{"type": "CodeBlock"}]}])
    assert said["problems"]


def texts_in(value: Json) -> list[str]:
    """Texts and URLs, in their order."""
    match value:
        case dict():
            own = [value[key] for key in ("text", "title", "url") if isinstance(value.get(key), str)]
            return own + [text for child in value.values() for text in texts_in(child)]
        case list():
            return [text for child in value for text in texts_in(child)]
    return []


def typed(folder: Path, found: list[Json]) -> subprocess.CompletedProcess[str]:
    (folder / "bodies.ts").write_text(TYPED % json.dumps(found))
    options = ["--noEmit", "--strict", "--skipLibCheck", "--exactOptionalPropertyTypes", "--module", "nodenext"]
    return ask(folder, "node_modules/typescript/bin/tsc", *options, "bodies.ts")


def test_discords_own_types_fit_a_message(folder: Path) -> None:
    """No field that Discord does not have, none of another type."""
    checked = typed(folder, bodies("discord"))
    assert checked.returncode == 0, checked.stdout


def test_discords_own_types_would_not_fit_anything(folder: Path) -> None:
    """So that the test above is about something."""
    checked = typed(folder, [{"contents": "x"}, {"embeds": [{"fields": [{"name": "x"}]}]}])
    assert "contents" in checked.stdout
    assert "value" in checked.stdout
