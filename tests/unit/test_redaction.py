"""What must stay secret is in no line of the log, whatever brought it there."""

import io
import json
import logging
import sys
import warnings

import pytest
import structlog
from hypothesis import assume, given
from hypothesis import strategies as st

from cambwatch.adapters.logs import LogRedactor, configure
from cambwatch.core.model import Conclusion, Status
from cambwatch.core.redaction import SHORTEST_SECRET, Secret

TOKEN = "c4mb-k3y/with+odd=chars.and(brackets)"
HOOK = "https://hooks.example/services/T000/B000/XXXX?token=YYYYYYYY"
NOTHING = LogRedactor([])
SOME = LogRedactor([Secret(TOKEN), Secret(HOOK), Secret("whsec_AAAA")])

safe = st.text(st.characters(exclude_characters=":", exclude_categories=["Cs"]), max_size=30)
url_characters = st.text(st.sampled_from("abcXYZ019-._~%!$&()*+,;=:@/?#[]{}|\\^`äß😀"), min_size=1, max_size=40)


@pytest.fixture
def stream():
    """Where the log goes; logging is as it was before at the end."""
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    yield io.StringIO()
    logging.getLogger().handlers = handlers
    logging.getLogger().setLevel(level)
    structlog.reset_defaults()


def lines(stream):
    """The log as JSON documents."""
    return [json.loads(line) for line in stream.getvalue().split("\n")[:-1]]


def refuse():
    """Raises an error with a cause; both show what they should not."""
    cause = OSError(f"cannot reach {HOOK}")
    raise ValueError(f"key {TOKEN} and https://cdn.example/CANARY?sig=CANARY") from cause


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("see https://cdn.example/a/b?sig=1 now", "see https://cdn.example/… now"),
        ("https://cdn.example/", "https://cdn.example"),
        ("https://cdn.example:8443?sig=1", "https://cdn.example:8443/…"),
        ("https://user:pa'ss@cdn.example/a", "https://cdn.example/…"),
        ("http://[::1]:8080/secret", "http://[::1]:8080/…"),
        ("postgresql+asyncpg://u:p@db/name", "postgresql+asyncpg://db/…"),
        ("1https://cdn.example/secret", "1https://cdn.example/…"),
        ("('https://a.example/x', 'https://b.example/y')", "('https://a.example/…', 'https://b.example/…')"),
        ("[Link(label='A', url='https://a.example/x?y')]", "[Link(label='A', url='https://a.example/…')]"),
        ("https://a.example/it's?sig=1", "https://a.example/…"),
        ("https://a.example/x)y]z}?sig=1", "https://a.example/…"),
        (r'{"url":"https:\/\/a.example\/x?sig=1"}', r'{"url":"https:\/\/a.example/…"}'),
        ("time 12:30, a:b, c://", "time 12:30, a:b, c://"),
        (f"key {TOKEN}!", "key <secret>!"),
        (f"POST {HOOK} failed", "POST <secret> failed"),
        ("Cannot POST /services/T000/B000/XXXX", "Cannot POST <secret>"),
        ("bad token=YYYYYYYY", "bad <secret>"),
        (f"https://a.example/{TOKEN}/b?sig=1", "https://a.example/…"),
    ],
)
def test_what_is_shown_of_a_text(words, shown):
    """Of a URL scheme and host, of a secret nothing, of all else everything."""
    assert SOME.redact(words) == shown


@given(safe)
def test_a_text_without_urls_and_secrets_stays_as_it_is(words):
    assume(not any(secret in words for secret in ("token=YYYYYYYY", "/services/T000/B000/XXXX")))
    assert SOME.redact(words) == words


@given(safe, st.sampled_from(["https://", "http://", "wss://", "https:\\/\\/"]), url_characters, safe)
def test_nothing_of_a_url_but_its_host_is_shown(before, scheme, rest, after):
    """Whatever stands in its path and query, and whatever stands around it."""
    shown = NOTHING.redact(f"{before} {scheme}cdn.example/CANARY{rest}CANARY {after}")
    assert shown == f"{before} {scheme}cdn.example/… {after}"


@given(st.text(min_size=SHORTEST_SECRET, max_size=40), safe, safe)
def test_a_secret_is_never_shown(secret, before, after):
    """Also one that looks like an expression, like a URL, or like our own words for it."""
    assume(secret not in "<secret>" and secret not in before + "<secret>" + after)
    shown = LogRedactor([Secret(secret)]).redact(f"{before}{secret}{after}")
    assert secret not in shown


@given(st.lists(st.text(min_size=SHORTEST_SECRET, max_size=12), min_size=1, max_size=5), st.randoms())
def test_of_secrets_that_hold_each_other_the_longest_is_cut(secrets, dice):
    """No order of them leaves a part behind."""
    whole = "".join(secrets)
    dice.shuffle(secrets)
    shown = LogRedactor([*map(Secret, secrets), Secret(whole)]).redact(whole)
    assert shown == "<secret>"


def test_every_value_is_cleaned_wherever_it_is():
    """Inside of mappings, lists, objects, bytes and exceptions; numbers stay numbers."""
    event = {
        "event": "a.happened",
        "number": 7,
        "part": 0.5,
        "flag": True,
        "nothing": None,
        "status": Status.SUCCESS,
        "mapping": {TOKEN: [f"x {TOKEN}", (TOKEN, {TOKEN})], ("a", TOKEN): 1},
        "step": Conclusion(Status.ERROR, message=f"see {HOOK}"),
        "raw": TOKEN.encode(),
        "error": ValueError(TOKEN),
        "secret": Secret(TOKEN),
    }
    shown = SOME(None, "info", event)
    assert TOKEN not in repr(shown)
    assert "XXXX" not in repr(shown)
    kept = ("event", "number", "part", "flag", "nothing", "status")
    assert {name: shown[name] for name in kept} == {name: event[name] for name in kept}


@pytest.mark.parametrize("style", ["json", "console"])
def test_tracebacks_are_cleaned_with_their_causes(stream, style):
    """Of our own loggers and of libraries'; neither style warns of anything."""
    configure(level="debug", format=style, secrets=[Secret(TOKEN), Secret(HOOK)], stream=stream)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            refuse()
        except ValueError:
            structlog.get_logger().exception("task.postponed", url=HOOK)
            logging.getLogger("asyncio").exception("Task exception was never retrieved: %s", HOOK)
    text = stream.getvalue()
    assert text.count("Traceback") == 2
    assert "OSError: cannot reach <secret>" in text
    for canary in (TOKEN, "XXXX", "YYYY", "CANARY"):
        assert canary not in text


def test_json_is_one_document_a_line_with_event_level_and_timestamp(stream):
    """Whatever is in it; context is part of it; libraries speak from warnings on."""
    configure(level="info", format="json", secrets=[], stream=stream)
    log = structlog.get_logger()
    with structlog.contextvars.bound_contextvars(delivery_id="msg_1"):
        log.info("delivery.attempted", name="two\nlines\r\n\t\x1b[31m \u2028 ü", odd=object(), inside={1: {2, 3}})
    log.debug("task.polled")
    logging.getLogger("aiohttp.access").info("GET /")
    logging.getLogger("asyncio").warning("slow %s", "callback")
    first, second = lines(stream)
    assert (first["event"], first["level"], first["delivery_id"]) == ("delivery.attempted", "info", "msg_1")
    assert first["name"] == "two\nlines\r\n\t\x1b[31m \u2028 ü"
    assert (second["event"], second["level"]) == ("slow callback", "warning")
    assert all(line["timestamp"].endswith("Z") for line in (first, second))


@pytest.mark.parametrize(("level", "count"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_the_level_is_the_least_that_is_written(stream, level, count):
    configure(level=level, format="json", secrets=[], stream=stream)
    log = structlog.get_logger()
    for speak in (log.debug, log.info, log.warning, log.error):
        speak("a.happened")
    assert len(lines(stream)) == count


def test_auto_is_json_where_nobody_watches(stream):
    """And the console form on a terminal."""
    configure(level="info", format="auto", secrets=[], stream=stream)
    structlog.get_logger().info("a.happened")
    assert lines(stream)[0]["event"] == "a.happened"
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    configure(level="info", format="auto", secrets=[], stream=terminal)
    structlog.get_logger().info("a.happened")
    assert "a.happened" in terminal.getvalue()
    assert not terminal.getvalue().startswith("{")
    assert sys.stderr is not terminal
