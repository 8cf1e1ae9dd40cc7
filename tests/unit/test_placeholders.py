"""Which text is clearly neither an id nor a key, and which may be one."""

# ruff: noqa: SIM905 - a table of words is easier to read without the quotes

import base64
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cambwatch.core.names import ValueMistake, find_value_mistake

UUID = "c8b8e3cd-ad17-4458-83ad-349432da117b"
BLANKS = [*" \t\n\x85\u00a0\u2003\u2028\u3000\u200b\ufeff\u2060\u200e\u3164", "\r\n"]
QUOTES = "\"\" '' `` “” „“ ‘’ «» ‹› 「」 ´´ ＂＂".split()
KINDS = {
    ValueMistake.BLANKS_AROUND: [
        " ",
        "\u2800",
        "\u200da",
        *(f"a{blank}" for blank in BLANKS),
        *(f"{blank}a" for blank in BLANKS),
    ],
    ValueMistake.BLANKS: ["a b", "a\u00a0b", "a\u3000b", "c8b8e3cd-\u200bad17", "a\u202eb", "a\ufeffb"],
    ValueMistake.QUOTES: [f'"{UUID}', f"{UUID}'", f'"{UUID}",', f"b'{UUID}'", *(f"{a}{UUID}{b}" for a, b in QUOTES)],
    ValueMistake.BRACKETS: [f"<{UUID}>", f"[{UUID}]", f"{{{UUID}}}", f"({UUID})", "[a, b]", "<Response [200]>", "[]"],
    ValueMistake.TEMPLATE: [
        *"{{task.name}} ${DUB} #{dub} @{dub} {0} {} $DUB $env:DUB $1 $(dub) %DUB% %s %1$s %(dub)s :dub @dub".split(),
        *"!DUB! __DUB__ <dub> dub-{dub} dub-{} dub/<dub> dub-$DUB dub-${DUB}-1 \\(dub)".split(),
        *("%!s(MISSING)", "%!d(string=a)"),
        *("{{ $json.task }}", "${{ steps.dub.outputs.task }}", "{ dub }", "<%= dub %>", "{% dub %}"),
    ],
    ValueMistake.NOTHING: [
        *"null NULL Null (null) undefined None nil <nil> NaN nan true False N/A #N/A Nothing NaT null,".split(),
        *"undefined/undefined undefined/result null?wait=5s 00000000-0000-0000-0000-000000000000".split(),
    ],
    ValueMistake.EXAMPLE: [
        *"task_id taskid TASK_ID taskId task-id your_task_id YOUR-TASK-ID yourTaskId my-task-id id uuid string".split(),
        *"<task_id> [task_id] {task_id} {{task_id}} ${TASK_ID} insert-task-id-here the\u00a0task\u00a0id".split(" "),
        *"your_api_key YOUR-API-KEY <key> <your-token> ${CAMB_API_KEY} api-key-from-camb".split(),
        *"changeme CHANGE_ME <replace-me> TODO tbd xxx XXXXXXXX xxxx-xxxx-xxxx ... … *** --".split(),
    ],
    ValueMistake.CUT: ["c8b8e3cd…", "c8b8e3cd...", "c8b8e3cd-..."],
    ValueMistake.ANSWER: [
        *(
            '{"task_id": "a"}',
            "{'task_id': 'a'}",
            '"task_id": "a"',
            "task_id: a",
            f"UUID('{UUID}')",
            f'Optional("{UUID}")',
        ),
        *f"task_id=a ?task_id=a --task-id=a task_id='{UUID}' CAMB_API_KEY=a str(dub)".split(),
        "[object Object]",
    ],
    ValueMistake.HEADER: ["Bearer abc", "bearer:abc", "Basic abc", "Authorization: Bearer abc", "x-api-key: abc"],
    ValueMistake.URL: [f"https://client.camb.ai/apis/dub/{UUID}", "http://a", "ftp://a"],
    ValueMistake.ESCAPED: [
        f"{UUID}\\n",
        f"&quot;{UUID}&quot;",
        f'\\"{UUID}',
        "a\\u0022b",
        f"%22{UUID}%22",
        f"{UUID}%0A",
        "%7B%7Bdub%7D%7D",
        "%20a",
    ],
}
MAY_BE_A_VALUE = [
    *(UUID, UUID.upper(), UUID.replace("-", ""), f"urn:uuid:{UUID}", "👩‍👩‍👧‍👦", "می\u200cروم", "e\u0301"),
    *"x a - 0 12345 1.5 : % a/b ../up //a/b a:b ?a=b&c#d %2e%2e %00 %C3%A9 a+b/c== Aa=== ~a a~ =a 日本語 é".split(),
    *"eyJh.eyJz.sig_- arn:aws:dub/1 a%20b sk-Abc_1 a\\b a'b a\"b a[0]b a;b a,b".split(),
    *"nullify none1 truely nano idea mid tokens task-1 my-task task_id_1 your-id-2 xx".split(),
]


@pytest.mark.parametrize(("why", "text"), [(why, text) for why, texts in KINDS.items() for text in texts])
def test_a_text_that_is_not_a_value_is_recognized(why: ValueMistake, text: str) -> None:
    assert find_value_mistake(text) is why


@pytest.mark.parametrize("why", ValueMistake)
def test_every_reason_has_examples(why: ValueMistake) -> None:
    assert KINDS[why]


@pytest.mark.parametrize("text", MAY_BE_A_VALUE)
def test_a_text_that_may_be_a_value_passes(text: str) -> None:
    """Camb promises no form, so only what is clearly something else is refused."""
    assert find_value_mistake(text) is None


@given(st.uuids())
def test_every_uuid_passes(value: object) -> None:
    assert find_value_mistake(str(value)) is None
    assert find_value_mistake(str(value).upper()) is None


@given(
    st.text(string.ascii_letters + string.digits + "-_.~+", max_size=100),
    *[st.sampled_from(string.ascii_letters + string.digits)] * 2,
    st.sampled_from("123456789"),
)
def test_every_token_with_a_digit_passes(inner: str, first: str, last: str, digit: str) -> None:
    assert find_value_mistake(f"{first}{inner}{digit}{last}") is None


@given(st.binary(min_size=16, max_size=64))
def test_random_bytes_in_base64_or_hex_pass(value: bytes) -> None:
    assert find_value_mistake(value.hex()) is None or not any(value)
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        encoded = encode(value).decode()
        assert find_value_mistake(encoded) is None or not set("123456789") & set(encoded)


values = st.text(string.ascii_letters + string.digits + "-_", min_size=1, max_size=60)


@given(values, st.sampled_from(QUOTES))
def test_any_value_in_quotes_is_recognized(value: str, pair: str) -> None:
    assert find_value_mistake(f"{pair[0]}{value}{pair[1]}")


@given(values, st.text(st.sampled_from("".join(BLANKS)), min_size=1, max_size=3), st.booleans())
def test_any_value_with_blanks_around_it_is_recognized(value: str, blanks: str, behind: bool) -> None:  # noqa: FBT001
    assert find_value_mistake(value + blanks if behind else blanks + value)


@given(
    values,
    st.sampled_from(["<{}>", "[{}]", "({})", "{{{}}}", "{{{{{}}}}}", "${{{}}}", "#{{{}}}", "{{{{ {} }}}}", "$({})"]),
)
def test_any_value_in_brackets_is_recognized(value: str, form: str) -> None:
    assert find_value_mistake(form.format(value))


@given(
    values,
    st.sampled_from(
        [
            '{{"task_id": "{}"}}',
            "task_id={}",
            "https://client.camb.ai/apis/dub/{}",
            "Bearer {}",
            "undefined/{}",
            "UUID('{}')",
        ]
    ),
)
def test_any_value_inside_something_larger_is_recognized(value: str, form: str) -> None:
    assert find_value_mistake(form.format(value))


@given(values, values, st.sampled_from(["{}-${{TASK_ID}}-{}", "{}{{{{task_id}}}}{}", "{}<task_id>{}", "{}{{}}{}"]))
def test_a_template_inside_any_text_is_recognized(before: str, behind: str, form: str) -> None:
    assert find_value_mistake(form.format(before, behind))


@given(st.text(st.characters(exclude_categories=()), max_size=250))
def test_every_text_has_an_answer(text: str) -> None:
    assert find_value_mistake(text) in {None, *ValueMistake}
