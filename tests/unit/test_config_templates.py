"""Templates in the configuration: tried before an event needs them, and told by line where they fail."""

import json
from datetime import timedelta

import pytest
from config_samples import KEY, config, mistakes, read
from hypothesis import given
from hypothesis import strategies as st

from cambwatch.config.entries import CHATS
from cambwatch.config.templates import samples
from cambwatch.core.model import Status
from cambwatch.core.templates import BodyTemplate

CANARY = "canary4711"
GOOD = '{"text": {{ data.summary | tojson }}}'
JSON_HINT = (
    "put each value through the filter tojson, without quotes around it; "
    "for another kind of body name its content-type under headers"
)


def destination(template: str, *, kind: str = "webhook", more: str = "") -> str:
    """A configuration with one destination, whose template is a block that begins in line 6."""
    lines = "".join(f"      {line}\n" for line in template.splitlines())
    return f"{KEY}destinations:\n  hook:\n    type: {kind}\n    template: |\n{lines}    url: https://a.b\n{more}"


def test_a_template_becomes_the_destinations() -> None:
    """And two that say the same are equal, so that a reload can tell what changed."""
    found = config(f"destinations: {{hook: {{type: webhook, url: https://a.b, template: '{GOOD}'}}}}\n")
    assert found.destinations["hook"].template == BodyTemplate(GOOD)
    other = config("destinations: {hook: {type: webhook, url: https://a.b, template: '{}'}}\n")
    assert found != other
    assert config("destinations: {hook: {type: webhook, url: https://a.b, template: null}}\n").destinations[
        "hook"
    ].template is None  # fmt: skip


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{\n{% if %}", "line 2 of the template: Expected an expression, got 'end of statement block'"),
        ("{{ data.summary", "line 1 of the template: unexpected end of template, expected 'end of print statement'."),
        ("{\n\n{{ dta.name }}", "line 3 of the template: 'dta' is undefined (in a full camb.task.success)"),
        (
            "\n{{ data.nmae }}",
            "line 2 of the template: 'dict object' has no attribute 'nmae' (in a full camb.task.success)",
        ),
        (
            "{{ data.labels.show }}",
            "line 1 of the template: 'dict object' has no attribute 'show' (in a bare camb.task.success)",
        ),
        (
            "\n{{ data.links[0].url }}",
            "line 2 of the template: list object has no element 0 (in a bare camb.task.success)",
        ),
        (
            "{{ data.result.output_url }}",
            "line 1 of the template: 'None' has no attribute 'output_url' (in a bare camb.task.success)",
        ),
        (
            "{% if type == 'camb.task.payment_required' %}\n{{ oops }}{% endif %}",
            "line 2 of the template: 'oops' is undefined (in a full camb.task.payment_required)",
        ),
        (
            "{% if type == 'camb.task.error' %}{% elif data.group %}\n{{ data.task_id }}{% endif %}",
            (
                "line 2 of the template: 'dict object' has no attribute 'task_id' "
                "(in camb.group.complete, which has data of its own)"
            ),
        ),
        (
            "{{ data.links }}",
            (
                "line 1 of the template: a list or a mapping is written by the filter tojson "
                "(in a full camb.task.success)"
            ),
        ),
        ("{% macro x() %}{% endmacro %}", "line 1 of the template: macro is not available here"),
        (
            '{"text": "{{ data.summary }}"}',
            f"makes no JSON of a full camb.task.success in line 1 of the body: {JSON_HINT}",
        ),
        (
            '{"a": 1,\n"b": {{ data.run_id | default("") }}}',
            f"makes no JSON of a bare camb.task.success in line 2 of the body: {JSON_HINT}",
        ),
        ('{"a": NaN}', f"makes no JSON of a full camb.task.success: {JSON_HINT}"),
        ("{# nothing #}", f"makes no JSON of a full camb.task.success in line 1 of the body: {JSON_HINT}"),
    ],
)  # fmt: skip
def test_a_broken_template_is_found_before_an_event_is(template: str, words: str) -> None:
    """With its own line, and with the event that it fails on."""
    assert mistakes(destination(template)) == [f"5:15: destinations.hook.template: {words}"]


@pytest.mark.parametrize("status", [status for status in Status if status not in {Status.PENDING, Status.REMOVED}])
def test_every_status_is_tried(status: Status) -> None:
    """Somebody is told of each."""
    text = f"{{% if data.status is defined and data.status == '{status}' %}}{{{{ oops }}}}{{% endif %}}"
    [line] = mistakes(destination(text))
    assert f"'oops' is undefined (in a full camb.task.{status.lower()})" in line


def test_what_needs_escaping_is_in_the_samples() -> None:
    """Quotes and backslashes in every text that others choose, so that a value without tojson is found."""
    full = [event for name, event in samples() if "full" in name]
    assert all('"' in event.name and "\\" in event.group for event in full)
    for field in ("name", "group", "labels.show"):
        assert mistakes(destination(f'{{"a": "{{{{ data.{field} | default("") }}}}"}}'))


@pytest.mark.parametrize(
    ("headers", "fails"),
    [
        ("", True),
        ("    headers: {content-type: text/plain}\n", False),
        ("    headers: {Content-Type: 'application/xml; charset=utf-8'}\n", False),
        ("    headers: {content-type: application/vnd.api+json}\n", True),
        ("    headers: {content-type: Application/JSON; charset=utf-8}\n", True),
        ("    headers: {accept: text/plain}\n", True),
    ],
)
def test_a_body_of_another_kind_needs_its_content_type(headers: str, fails: bool) -> None:  # noqa: FBT001
    """JSON is only asked of what says that it is JSON."""
    assert bool(mistakes(destination("Task {{ data.summary }}", more=headers))) is fails


def test_a_content_type_is_no_secret() -> None:
    """Or every log line that names one would be struck out."""
    text = destination("x", more="    headers: {content-type: text/plain, authorization: Bearer abc}\n")
    assert [secret.reveal() for secret in read(text).secrets] == ["abcdef", "https://a.b", "Bearer abc", "abc"]


def test_a_content_type_without_a_template_is_refused() -> None:
    """The notification is JSON, whatever a header says."""
    text = KEY + "destinations: {hook: {type: webhook, url: https://a.b, headers: {content-type: text/plain}}}"
    assert mistakes(text) == [
        (
            "2:56: destinations.hook.headers: "
            "content-type is set by cambwatch itself, but for type webhook with a template"
        )
    ]


@pytest.mark.parametrize("kind", [kind for kind in CHATS if kind != "apprise"])
def test_chats_have_neither_template_nor_secret(kind: str) -> None:
    """An option that cannot be honoured is a mistake; what a chat takes is not ours to choose."""
    [line] = mistakes(destination(GOOD, kind=kind))
    assert line == f"5:5: destinations.hook.template: makes the body of type webhook only, this is {kind}"
    secret = "whsec_" + "QUFB" * 8
    [line] = mistakes(KEY + f"destinations: {{a: {{type: {kind}, url: https://a.b, secret: {secret}}}}}")
    assert line.endswith(f"secret: signs requests of type webhook only, this is {kind}")


@pytest.mark.parametrize("kind", [kind for kind in CHATS if kind != "apprise"])
def test_old_news_clutters_a_chat(kind: str) -> None:
    """So a chat is given up after a day."""
    found = config(f"destinations: {{a: {{type: {kind}, url: https://a.b}}}}\n").destinations["a"]
    assert found.retry.give_up_after == timedelta(hours=24)


def test_a_template_can_be_in_a_file(tmp_path) -> None:
    """Relative to the folder of the configuration; it is no secret, so its mode does not matter."""
    (tmp_path / "body.j2").write_text('\ufeff{"a": 1}\n')
    text = KEY + "destinations: {a: {type: webhook, url: https://a.b, template_file: body.j2}}"
    loaded = read(text, folder=tmp_path)
    assert loaded.warnings == ()
    assert loaded.config.destinations["a"].template == BodyTemplate('{"a": 1}\n')


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("template_file: none", "the file cannot be read: No such file or directory"),
        ("template_file: .", "the file cannot be read: Is a directory"),
        ("template_file: binary", "the file is not a text in UTF-8"),
        ("template_file: empty", "is empty"),
        ("template_file: large", "longer than 64 KiB"),
        ("template_file: broken", "line 2 of the template: 'oops' is undefined (in a full camb.task.success)"),
        ("template: '{}', template_file: good", "give template or template_file, not both"),
        (
            "template_file: text",
            f"makes no JSON of a full camb.task.success in line 1 of the body: {JSON_HINT}",
        ),
    ],
)
def test_a_file_that_holds_no_template_is_a_mistake(tmp_path, key: str, words: str) -> None:
    """Told like one that is written in place."""
    files = {
        "binary": b"\xff\xff",
        "empty": b" \n",
        "large": b"x" * 70_000,
        "broken": b"\n{{ oops }}",
        "good": b"{}",
        "text": b"hello",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    [line] = mistakes(KEY + f"destinations: {{a: {{type: webhook, url: https://a.b, {key}}}}}", folder=tmp_path)
    assert line.partition("template_file: ")[2] == words


@pytest.mark.parametrize("template", ["", "  "])
def test_an_empty_template_is_a_mistake(template: str) -> None:
    """Where none is meant, the key goes."""
    assert mistakes(KEY + f"destinations: {{a: {{type: webhook, url: https://a.b, template: '{template}'}}}}") == [
        "2:63: destinations.a.template: is empty"
    ]


@pytest.mark.parametrize("template", ["{{ KEY }}", "{% KEY %}", "{{ 1 | KEY }}", "{{ data['KEY'] }}", "KEY"])
def test_no_message_shows_what_a_variable_in_a_template_holds(template: str) -> None:
    """A token of the receiver often stands in the body; Jinja's messages would quote it."""
    [line] = mistakes(destination(template.replace("KEY", "${KEY}")), {"KEY": CANARY})
    assert CANARY not in line
    assert "line 1 of the template: cannot be rendered: it holds a variable" in line or "makes no JSON" in line


def test_a_loaded_template_does_not_print_itself() -> None:
    """Neither it nor what holds it."""
    text = destination('{"routing_key": "${KEY}"}')
    loaded = read(text, {"KEY": CANARY})
    template = loaded.config.destinations["hook"].template
    assert json.loads(template.render({})) == {"routing_key": CANARY}
    assert CANARY not in f"{loaded} {loaded.config!r} {loaded.config.destinations} {loaded.config.model_dump()}"


@given(st.text(st.sampled_from("{}%#-\n data.nmeli|tojsr[]()'\"0~*+="), max_size=60))
def test_any_template_is_a_configuration_or_a_mistake(template: str) -> None:
    """In one line, whatever the template holds."""
    written = json.dumps(template)
    text = f"{KEY}destinations: {{hook: {{type: webhook, url: https://a.b, template: {written}}}}}"
    assert len(mistakes(text)) <= 1
