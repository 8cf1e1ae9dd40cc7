"""
What a reader sees of a name is the name, in every service: nothing in it is a command, a picture or a formula.

The readers here are not ours: markdown-it, and the patterns that the services' own clients
look for (Mattermost's marked and its list of emoticons, Discord's tags, the functions of
Adaptive Cards, the marks of Slack's and Google Chat's text).
"""

import html
import json
import re
from collections.abc import Iterator

import pytest
from event_samples import START, ended, receiver
from markdown_it import MarkdownIt

from cambwatch.core.events import TaskEnded
from cambwatch.core.formats import FORMATS
from cambwatch.core.formats.size_limits import ZERO_WIDTH_SPACE
from cambwatch.core.model import Json, Status

NAMES = [
    # Mattermost: formulas, channels, emoticons with and without a colon, its own rule for backslashes.
    *("$x$", "$$x^2$$", "from $5 to $6", "\\$x\\$", "$:$"),
    *("~town-square", "@here", "@all", "#hashtag"),
    *(":)", ";)", ";-)", ":-D", ":o", ":p", "x-d", "X-D", "<3", "</3", ":'(", ":/", ":$", ":|"),
    *(":skull:", ":+1:", ":a:b:c:"),
    *("a\\b", "C:\\new", "\\\\server\\share", "¯\\_(ツ)_/¯", "\\*"),
    # Discord: times, mentions, commands, spoilers.
    *("<t:1700000000:R>", "<@123>", "<@&1>", "<#123>", "<:a:1>", "<a:b:1>", "</cmd:1>", "<id:customize>"),
    "||spoiler||",
    # Adaptive Cards.
    *("{{DATE(2026-11-22T06:00:00Z, SHORT)}}", "{{TIME(2026-11-22T06:00:00Z)}}", "{{{x}}}", "${name}", "<at>x</at>"),
    # Slack and Google Chat.
    *("<!channel>", "<https://evil.example|x>", "<users/all>", "&lt;", "&amp;", "&#36;", "<b>x</b>"),
    # Markdown, in each dialect.
    *("*bold*", "**bold**", "_it_", "__it__", "~no~", "~~no~~", "`code`", "```block```", "* * *", "---", "==="),
    *("- item", "* item", "+ item", "1. one", "2) two", "> quote", "# head", "-# small", "| a | b |"),
    *("[a](https://b)", "![a](https://b)", "[a]: https://b"),
    *("https://evil.example", "www.evil.example", "bob@evil.example"),
    # Names that are only names.
    *("s01_e02_final", "a * b * c", "06:00-07:00", "50 % & more", "(c) 2026", '"quoted"'),
    "می\u200cروم 👨\u200d👩\u200d👧 🫨",
]  # fmt: skip

EMOTICONS = re.compile(
    r"(^|\B)(:-?\)|;-?\)|:-?\]|:-?[\[@]|:-?\(|:[`'’]-?\(|:-?/|:-?\||:-?\$)($|\B)"
    r"|(^|\B)(:o|:-o|:-?d|:-?p|:-?s|:-x|<3|</3)($|\b)|(^|\b)x-d($|\b)|:[a-z0-9_+-]+:",
    re.IGNORECASE,
)
LATEX = re.compile(r"\$[^$\n]+\$(?!\w)")
DISCORD = re.compile(r"(?<!\\)<(t:\d+|@[!&]?\d+|#\d+|a?:\w+:\d+|/\w+:\d+|id:\w+)|(?<!\\)\|\||@(everyone|here)\b")
MARKS = re.compile(r"(?<![\w])([*_~`]+)(?=\S)(.+?)(?<=\S)\1(?!\w)")
SHORTCODE = re.compile(r":[\w+'-]+:")
FUNCTION = re.compile(r"\{\{(DATE|TIME)\([^)]*\)\}\}")
LOOK_ALIKES = str.maketrans({"∗": "*", "∼": "~", "ˋ": "`", "ˍ": "_", "‹": "<", "›": ">", "¦": "|"})


def texts(value: Json, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text of a message, with what it is called."""
    match value:
        case str():
            yield key, value
        case {"type": "mrkdwn", "text": text}:
            yield "mrkdwn", text
        case {"type": "plain_text", "text": text}:
            yield "plain_text", text
        case dict():
            for name, child in value.items():
                yield from texts(child, name)
        case list():
            for child in value:
                yield from texts(child, key)


def markdown(text: str) -> str:
    """What a reader of Markdown shows."""
    return html.unescape(re.sub(r"<[^>]+>", "", MarkdownIt("commonmark").enable("strikethrough").render(text)))


def marked(text: str) -> str:
    """What Mattermost shows: besides Markdown it draws formulas and emoticons, and knows two escapes less."""
    assert not re.search(r"\\\\\w|\\\$", text)
    return EMOTICONS.sub("🖼", markdown(LATEX.sub("🖼", text)))


def chat(text: str) -> str:
    """What Slack and Google Chat show of text that knows formatting and shortcodes but no escapes."""
    return SHORTCODE.sub("🖼", MARKS.sub(r"\2", text)).translate(LOOK_ALIKES)


def slack(key: str, text: str) -> str:
    return html.unescape(text if key == "plain_text" else chat(text))


def google(key: str, text: str) -> str:
    if key == "title":
        return text
    return chat(text) if key == "fallbackText" or "\n" in text else html.unescape(re.sub(r"</?b>", "", text))


def discord(key: str, text: str) -> str:
    # In a footer Markdown is only text.
    return text if key == "text" else markdown(DISCORD.sub("🖼", text))


SHOWN = {
    "apprise": lambda _, text: text,
    "discord": discord,
    "google_chat": google,
    "mattermost": lambda _, text: marked(text),
    "slack": slack,
    "teams": lambda _, text: FUNCTION.sub("🖼", text),
}


def seen(kind: str, body: bytes) -> list[str]:
    return [SHOWN[kind](key, text).replace(ZERO_WIDTH_SPACE, "") for key, text in texts(json.loads(body))]


def events(name: str) -> Iterator[TaskEnded]:
    """With *name* as what the task is called, as Camb's message, as a label and as a group."""
    yield ended(name=name)
    yield ended(Status.ERROR, message=name)
    yield ended(labels={"k": name})
    yield ended(group=name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", SHOWN)
def test_a_name_is_seen_as_it_is(kind: str, name: str) -> None:
    for event in events(name):
        message = FORMATS[kind].render(event, receiver(kind), delivery_id="msg_1", at=START)
        assert any(name in text for text in seen(kind, message.body)), message.body.decode()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", SHOWN)
def test_a_name_is_seen_as_it_is_in_a_digest_and_in_words_alone(kind: str, name: str) -> None:
    digest, _ = FORMATS[kind].digest([ended(name=name)] * 2, receiver(kind), late=False)
    plain = FORMATS[kind].plain(ended(name=name), receiver(kind))
    for message in (digest, plain):
        if message is not None:
            assert any(f'"{name}"' in text for text in seen(kind, message.body)), message.body.decode()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", sorted({*SHOWN} - {"apprise"}))  # which tells no facts
def test_a_fact_is_seen_as_it_is(kind: str, name: str) -> None:
    """It may stand at the beginning of a line."""
    message = FORMATS[kind].render(ended(account=name), receiver(kind), delivery_id="msg_1", at=START)
    assert any(name in text for text in seen(kind, message.body)), message.body.decode()


@pytest.mark.parametrize(
    ("kind", "text", "shown"),
    [
        ("mattermost", "a $x$ b", "a 🖼 b\n"),
        ("mattermost", "a ;) b", "a 🖼 b\n"),
        ("discord", "a <t:1:R> b", "a 🖼:R> b\n"),
        ("teams", "{{DATE(1, SHORT)}}", "🖼"),
        ("slack", "a *b* :c:", "a b 🖼"),
        ("google_chat", "a *b*\n:c:", "a b\n🖼"),
    ],
)
def test_the_readers_would_see_something_else(kind: str, text: str, shown: str) -> None:
    """So that the tests above are about something."""
    assert SHOWN[kind]("mrkdwn", text) == shown
