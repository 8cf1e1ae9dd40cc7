"""Templates of bodies: what they can say, and that nothing in them is without bound."""

import json
import re

import pytest
from event_samples import characters, ended, events, json_values, receiver
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook as Official

from cambwatch.core.event_json import notification_body
from cambwatch.core.events import Event, Link
from cambwatch.core.formats import FORMATS
from cambwatch.core.redaction import Secret
from cambwatch.core.templates import LONGEST_BODY, BodyTemplate, TemplateError

DATA = {
    "name": 'a "b" <c> & d\\',
    "none": None,
    "yes": True,
    "count": 3,
    "list": [1, 2, {"k": "v"}],
    "items": "a key",
    "labels": {"items": "x", "get": "y"},
}


def made(source: str, **values: object) -> str:
    return BodyTemplate(source).render({"data": DATA, **values}).decode()


def refused(source: str) -> TemplateError:
    with pytest.raises(TemplateError) as caught:
        made(source)
    return caught.value


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ data.name }}", 'a "b" <c> & d\\'),
        ("{{ data.name | tojson }}", '"a \\"b\\" <c> & d\\\\"'),
        ("{{ data.list | tojson }}", '[1,2,{"k":"v"}]'),
        ("{{ {'a': 1} | tojson(indent=2) }}", '{\n  "a": 1\n}'),
        ("{{ data.none }}|{{ data.none | tojson }}", "|null"),
        ("{{ data.yes }} {{ 1 == 2 }} {{ data.yes | tojson }}", "true false true"),
        ("{{ data.none | default('?', true) }}", "?"),
        ("{{ data.missing | default('?') }}", "?"),
        ("{% if data.missing is defined %}a{% else %}b{% endif %}", "b"),
        ("{{ data.items }} {% for k, v in data.labels.items() %}{{ k }}={{ v }} {% endfor %}", "a key items=x get=y "),
        ("{{ data.labels.get('get') }}{{ data['count'] + 1 }}", "y4"),
        ("{% for x in [7, 8] %}{{ loop.index }}/{{ loop.length }}{{ ',' if not loop.last }}{% endfor %}", "1/2,2/2"),
        ("{% for x in [] %}a{% else %}none{% endfor %}", "none"),
        ("{% for x in data.list if x is number %}{{ loop.cycle('a', 'b') }}{% endfor %}", "ab"),
        ("{% for x in range(3) %}{{ x }}{% endfor %}", "012"),
        ("{{ data.list | selectattr('k', 'defined') | map(attribute='k') | join(', ') }}", "v"),
        ("{{ data.list | select('number') | tojson }}", "[1,2]"),
        ("{% set text %}{{ data.name }}!{% endset %}{{ text | tojson }}", '"a \\"b\\" <c> & d\\\\!"'),
        ("{{ 'a' ~ data.none ~ 1 ~ data.yes }}{{ 'b' + 'c' }}", "a1truebc"),
        ("{% set ns = namespace(n=0) %}{% for x in [1, 2] %}{% set ns.n = ns.n + x %}{% endfor %}{{ ns.n }}", "3"),
        ("{{ data.name | e }}", "a &quot;b&quot; &lt;c&gt; &amp; d\\"),
        ("{{ 'a b&c' | urlencode }} {{ 'aXb' | replace('X', '-') }} {{ ' a ' | trim | upper }}", "a%20b%26c a-b A"),
        ("{{ data.name.split()[0] }}{{ 'x' if data.name.startswith('a') }}", "ax"),
        ("{% raw %}{{ as it is }}{% endraw %}{# a comment #}", "{{ as it is }}"),
        ("{{ 7 // 2 }} {{ 7 % 2 }} {{ 2 * 3.5 }}", "3 1 7.0"),
    ],
)  # fmt: skip
def test_a_template_says_what_people_need(source: str, text: str) -> None:
    """Values as JSON has them, loops, defaults, joins; autoescape is off."""
    assert made(source) == text


@pytest.mark.parametrize(
    ("source", "line", "words"),
    [
        ("a\n{{ nobody }}", 2, "'nobody' is undefined"),
        ("a\n\n{{ data.missing }}", 3, "'dict object' has no attribute 'missing'"),
        ("{{ data.missing | tojson }}", 1, "'dict object' has no attribute 'missing'"),
        ("{{ 'a' ~ data.missing }}", 1, "'dict object' has no attribute 'missing'"),
        ("{% for x in data.missing %}{% endfor %}", 1, "'dict object' has no attribute 'missing'"),
        ("{{ data.missing() }}", 1, "'dict object' has no attribute 'missing'"),
        ("\n{% for x in data.count %}{% endfor %}", 2, "'int' object is not iterable"),
        ("{{ data.list }}", 1, "a list or a mapping is written by the filter tojson"),
        ("{{ data.labels.keys }}", 1, "a list or a mapping is written by the filter tojson"),
        ("{{ data.list[0] / 0 }}", 1, "division by zero"),
        ("{{ data.count * 1e308 }}", 1, "the number is too large"),
        ("{{ range | tojson }}", 1, "only data can be written as JSON"),
        ("\n{% if %}", 2, "Expected an expression, got 'end of statement block'"),
        ("{{ data.name | shout }}", 1, "No filter named 'shout'."),
        ("\n{% for x in data.list recursive %}{% endfor %}", 2, "a recursive loop is not available here"),
        ("{% nonsense %}", 1, "Encountered unknown tag 'nonsense'."),
    ],
)
def test_trouble_is_told_by_line(source: str, line: int, words: str) -> None:
    """That of the template, whether it cannot be compiled or not be rendered."""
    error = refused(source)
    assert (error.line, error.words) == (line, words)
    assert str(error) == f"line {line} of the template: {words}"


@pytest.mark.parametrize(
    "source",
    [
        "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
        "{% for x in data.list recursive %}{{ loop(data.list) }}{% endfor %}",
        "{% for a in range(10000) %}{% for b in range(10000) %}{% endfor %}{% endfor %}",
        "{% for a in range(10000) %}{% if false %}" + "x" * 5000 + "{% endif %}{% endfor %}",
        "{% for a in range(3000) %}{% set x %}" + "x" * 5000 + "{% endset %}{% endfor %}",
        "{{ range(10001) }}",
        "{{ 2 ** 3 }}",
        "{{ 9 * 9" + " * 999999999" * 9 + " }}",
        "{{ 'a' * 3 }}",
        "{{ [0] * 3 }}",
        "{{ '%9d' % 1 }}",
        "{{ '{:9}'.format(1) }}",
        "{{ 'a'.ljust(9) }}",
        "{{ 'a' | center(9) }}",
        "{{ 'a'.join(['b', 'c']) }}",
        "{{ 'a'.replace('a', 'b') }}",
        "{% set a = 'x' %}" + "{% set a = a ~ a %}" * 40,
        "{% set a = 'x' %}" + "{% set a = a + a %}" * 40,
        "{% set a = [0] %}" + "{% set a = a + a %}" * 40,
        "{% set a = 'x' %}" + "{% set a = [a, a] | join %}" * 40,
        "{% set a = 'x' %}" + "{% set a = a | replace('', 'xy') %}" * 40,
        "{% set a = '&' %}" + "{% set a = a | e %}" * 300_0,
        "{{ 1e999 }}",
        "{% set a = [0] %}" + "{% set a = [a, a] %}" * 40 + "{{ a | tojson }}",
        "{% set a = 'x' %}" + "{% set a %}{{ a }}{{ a }}{% endset %}" * 40,
        "{% set n = namespace(a='x') %}{% for i in range(99) %}{% set n.a = n.a ~ n.a %}{% endfor %}",
        "{% for x in range(600) %}" + "x" * 500 + "{% endfor %}",
        "{% include 'a' %}",
        "{% import 'a' as b %}",
        "{% extends 'a' %}",
        "{% block a %}{% endblock %}",
        "{{ lipsum(n=999) }}",
        "{{ cycler }}",
        "{{ [1, 2] | random }}",
        "{{ data.list.append(1) }}",
        "{{ data.__class__.__mro__ }}",
        "{{ data['__class__'] }}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
        "{{ self.__init__.__globals__ }}",
        "{{ range.__globals__ }}",
        "{{ (data | items).gi_frame }}",
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
        "{% if 1 %}" * 200 + "{% endif %}" * 200,
        "x" * 70_000,
    ],
    ids=lambda source: source[:60],
)  # fmt: skip
@pytest.mark.timeout(20)
def test_what_has_no_bound_and_what_reaches_out_is_refused(source: str) -> None:
    """In no time, and by the one error there is."""
    assert len(str(refused(source))) < 400


def test_the_allowance_is_out_of_reach() -> None:
    """A template cannot say its name, and what it sets itself is elsewhere; each rendering has its own."""
    source = "{% set allowance = 1 %}{% for x in range(9000) %}{{ x }}{% endfor %}"
    template = BodyTemplate(source)
    assert template.render({"data": DATA}) == template.render({"data": DATA})
    assert refused("{{ the allowance }}").line == 1


def test_a_body_has_at_most_256_kib() -> None:
    """Counted in bytes."""
    assert len(made("{{ x }}", x="a" * LONGEST_BODY)) == LONGEST_BODY
    for text in ("a" * (LONGEST_BODY + 1), "é" * (LONGEST_BODY // 2 + 1)):
        with pytest.raises(TemplateError, match="makes more than 256 KiB"):
            made("{{ x }}", x=text)


@given(json_values)
def test_tojson_is_read_back_as_it_was(value: object) -> None:
    """What JSON cannot have in UTF-8, lone surrogates, aside."""
    expected = json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    assert json.loads(made("{{ value | tojson }}", value=value)) == expected


@given(events)
def test_a_template_takes_any_event(event: Event) -> None:
    """With the id that a repeated delivery keeps; it is signed as it is sent."""
    source = '{"id": {{ id | tojson }}, "type": {{ type | tojson }}, "all": {{ data | tojson }}}'
    secret = Secret("whsec_" + "QUFB" * 8)
    destination = receiver("webhook", template=BodyTemplate(source), secrets=(secret,))
    message = FORMATS["webhook"].render(event, destination, delivery_id="msg_1", at=event.finished_at)
    seen = json.loads(message.body)
    plain = FORMATS["webhook"].render(event, receiver("webhook"), delivery_id="msg_1", at=event.finished_at)
    assert seen == {"id": "msg_1", "type": event.type, "all": json.loads(plain.body)["data"]}
    expected = Official(secret.reveal()).sign("msg_1", event.finished_at, message.body.decode())
    assert message.headers["webhook-signature"] == expected
    assert message.headers["content-type"] == "application/json"


def test_a_template_may_make_any_kind_of_body() -> None:
    """By a header, which then is the only content type."""
    headers = {"Content-Type": Secret("text/plain; charset=utf-8")}
    destination = receiver("webhook", template=BodyTemplate("{{ data.summary }}"), headers=headers)
    message = FORMATS["webhook"].render(ended(), destination, delivery_id="msg_1", at=ended().finished_at)
    assert message.body == b"Dub 6a1f0c9e\xe2\x80\xa6 succeeded after 41 s"
    assert message.headers["content-type"] == "text/plain; charset=utf-8"


def test_a_program_has_no_plainer_form() -> None:
    """What it refuses, it refuses for its content."""
    assert FORMATS["webhook"].plain(ended(), receiver("webhook")) is None


@given(st.text(characters, max_size=30))
def test_what_others_choose_is_never_run(text: str) -> None:
    """Only the template is one; its values are data."""
    shown = made("{{ x }}", x=text + "{{ 7 * 6 }}{% raw %}")
    assert shown == (text + "{{ 7 * 6 }}{% raw %}").encode("utf-8", "replace").decode()


def test_templates_are_what_they_say() -> None:
    """Equal where their text is, and silent about it."""
    one = BodyTemplate("token")
    assert one == BodyTemplate("token")
    assert one != BodyTemplate("other")
    assert one != "token"
    assert len({one, BodyTemplate("token")}) == 1
    assert not re.search("token", f"{one!r} {one} {receiver('webhook', template=one)}")


def test_the_data_is_the_notification() -> None:
    """So its description is that of the plain body."""
    event = ended(links=(Link("A", "https://a"),))
    document = notification_body(event)
    assert json.loads(made("{{ data | tojson }}", data=document["data"])) == document["data"]
