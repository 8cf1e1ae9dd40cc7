"""The file as YAML: what is no configuration at all, what aliases and variables may do."""

import pytest
from config_samples import HOOK, KEY, NOWHERE, config, mistakes, read

from cambwatch.config import ConfigError, load

EMPTY = "1:1: the file is empty: copy config.example.yaml to config.yaml and change what you need"
NO_MAPPING = "1:1: this is not a mapping of sections (camb, polling, destinations, ...): compare config.example.yaml"
TAGS = "1:1: YAML tags are not used here: put quotes around a text that begins with !"
COLON = (
    "1:5: not valid YAML: a colon cannot stand here: check the indentation, or put quotes around a text that holds ': '"
)
TAB = "1:1: not valid YAML: no text can begin with this character: put quotes around it, and indent with spaces"
BRACKET = "not valid YAML: a comma or the closing bracket is missing"
TOO_MANY = "more than 100000 values, aliases unfolded: this is no configuration"


def bomb(levels: int, *, shape: str) -> str:
    """Ten aliases in each of *levels* anchors, each naming the one before."""
    lines = ["a0: &a0 x" if shape == "list" else "a0: &a0 {k: x}"]
    for level in range(1, levels + 1):
        alias = f"*a{level - 1}"
        if shape == "list":
            lines.append(f"a{level}: &a{level} [{', '.join([alias] * 10)}]")
        else:
            lines.append(f"a{level}: &a{level} {{{', '.join(f'k{n}: {alias}' for n in range(10))}}}")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        (b"", EMPTY),
        (b"# words\n\n", EMPTY),
        (b"---\n...\n", EMPTY),
        (b"\xef\xbb\xbf", EMPTY),
        (b"- a\n", NO_MAPPING),
        (b"camb", NO_MAPPING),
        (b"\x7fELF\x02\x01\x00\x00", "1:1: the control character U+007F is not allowed: is this the right file?"),
        (b"camb:\n  x: \x00", "2:6: the control character U+0000 is not allowed: is this the right file?"),
        (b"\x89PNG\r\n\x1a\n\xff", "1:1: not a text in UTF-8: is this the right file?"),
        (b"a: 1\nb: \xe4\n", "2:4: not a text in UTF-8: is this the right file?"),
        ("a: 1".encode("utf-16"), "1:1: in UTF-16: save it as UTF-8"),
        (b"#" * (10 << 20), " larger than 1 MiB: this is no configuration"),
        (b"a: 1\n---\nb: 1\n", "2:1: a second YAML document begins here: one file has one"),
        (b"!!python/object:os.system {}", TAGS),
        (b"[" * 60, "1:51: nested more than 50 deep: this is no configuration"),
        (b"a: {b: &x {c: *x}}", "1:15: this alias stands inside its own anchor"),
        (b"a: *x", "1:4: no anchor of this name: put quotes around a text that begins with *"),
        (b"a: b: c", COLON),
        (b"\ta: 1", TAB),
        (b"a:\n  b: [1,\nc: 2", f"2:6: {BRACKET}"),
        (b"a: [1,\n2 {3\n", f"2:3: {BRACKET} (of what begins in line 1)"),
        (b"a: 'x", "1:4: not valid YAML: the quote that begins here is not closed"),
    ],
    ids=lambda value: repr(value[:20]) if isinstance(value, bytes) else "",
)  # fmt: skip
def test_what_is_no_configuration_is_told_in_one_line(raw, line):
    """A list, an empty file, a binary, a huge file, broken YAML: one line, and it says what to do."""
    assert mistakes(raw) == [line]


def test_a_byte_order_mark_does_no_harm():
    """Places are counted without it."""
    assert read(b"\xef\xbb\xbf" + (KEY + HOOK).encode()) == read(KEY + HOOK)
    assert mistakes(b"\xef\xbb\xbfcamb2: 1\n" + KEY.encode()) == ["1:1: camb2: unknown key (did you mean camb?)"]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("shape", ["list", "mapping"])
@pytest.mark.parametrize("levels", [5, 12, 49])
def test_an_alias_bomb_is_one_line(shape, levels):
    """What aliases unfold to is counted before anything is unfolded."""
    [line] = mistakes(bomb(levels, shape=shape))
    assert line.endswith(TOO_MANY)


def test_aliases_add_to_the_depth():
    """Thirty levels inside thirty levels are sixty."""
    deep = "[" * 30 + "]" * 30
    [line] = mistakes(f"a: &a {deep}\nb: {'[' * 30}*a{']' * 30}")
    assert line == "2:34: nested more than 50 deep: this is no configuration"


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "text",
    [
        "a: [" + "x, " * 120_000,
        "tasks:\n" + "- {kind: dub, task_id: a}\n" * 5_000,
        KEY + "routes:\n" + "- {notify: [a, b, c, d]}\n" * 4_000,
        KEY + "".join(f"key{n}: 1\n" for n in range(15_000)),
        KEY + "log:\n" + "".join(f"  k{n}: ${{VARIABLE_{n}}}\n" for n in range(10_000)),
        "%TAG !a! tag:x,2000:\n" * 15_000,
        "camb: {api_key: '" + "${A" * 100_000 + "'}",
        "tasks: [{kind: '" + "x" * 1_000_000 + "'}]",
    ],
    ids=["list", "tasks", "routes", "keys", "variables", "directives", "references", "word"],
)
def test_a_large_file_full_of_mistakes_takes_no_time(text):
    """The work grows with the file, not with its square."""
    assert mistakes(text, {f"VARIABLE{n}": "" for n in range(200)})


def test_anchors_and_merge_keys_share_what_is_common():
    """A key of its own beats a merged one, an earlier merged mapping beats a later one."""
    found = config(
        """
destinations:
  a: &a {type: webhook, url: https://example.com/a, timeout: 1s, concurrency: 1}
  b: {<<: *a, timeout: 2s}
  c: {<<: [{concurrency: 7}, *a]}
"""
    ).destinations
    assert [(each.timeout.seconds, each.concurrency) for each in found.values()] == [(1, 1), (2, 1), (1, 7)]


def test_a_mistake_that_was_merged_in_is_told_where_it_is_written():
    """The place is that of the anchor, the path is that of the alias."""
    text = KEY + HOOK + "routes:\n  - &a {notify: hok}\n  - {<<: *a}\n"
    assert mistakes(text) == [
        "4:17: routes[0].notify: unknown destination 'hok' (did you mean hook?)",
        "4:17: routes[1].notify: unknown destination 'hok' (did you mean hook?)",
    ]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("${A}", "one"),
        ("x-${A}-${B}", "x-one-two"),
        ("${C:-three}", "three"),
        ("${EMPTY:-four}", "four"),
        ("${A:-five}", "one"),
        ("$${A}", "${A}"),
        ("$$${A}", "$${A}"),
        ("$A $ $$", "$A $ $$"),
        ("${NESTED}", "${A}"),
    ],
)
def test_variables_are_replaced_once(written, value):
    """As in a shell, but what a variable holds is not replaced again."""
    environ = {"A": "one", "B": "two", "EMPTY": "", "NESTED": "${A}"}
    [task] = config(f"tasks: [{{kind: dub, task_id: a, name: '{written}'}}]\n", environ).registrations
    assert task.name == value


@pytest.mark.parametrize("value", ["a, level: debug", "x\ny: z", "{a: b}", "*a", "!!int 3", "null", "yes", "# a", "'"])
def test_a_variable_is_no_yaml(value):
    """Whatever a variable holds, it is a text in its place."""
    text = "tasks: [{kind: dub, task_id: a, labels: {a: '${V}'}}]\n"
    if "\n" in value:
        assert mistakes(text + KEY, {"V": value}) == [
            "1:45: tasks[0].labels.a: must not hold control characters or line breaks"
        ]
    else:
        assert config(text, {"V": value}).registrations[0].labels == {"a": value}


@pytest.mark.parametrize("value", ["yes", "null", "54", ""])
def test_a_variable_without_quotes_is_a_text_too(value):
    """What YAML would take it for does not matter, also where any type goes."""
    text = "tasks:\n- kind: dub\n  task_id: a\n  labels:\n    a: ${V}\n  extra:\n    a: ${V}\n"
    [task] = config(text, {"V": value}).registrations
    assert (task.labels["a"], task.extra["a"]) == (value, value)


def test_variables_serve_numbers_and_truth_as_well():
    """The type is that of the key, not that of the text."""
    text = "camb: {api_key: abcdef, concurrency: '${N}', timeout: '${T}'}\nresults: {fetch: '${F:-no}'}\n"
    found = read(text, {"N": "7", "T": "3s"}).config
    assert (found.camb.concurrency, found.camb.timeout.seconds, found.results.fetch) == (7, 3, False)


@pytest.mark.parametrize(
    "written", ["0123", "1.50", "2026-11-22", "1e3", "0x1F", "12:30:45", "1_000", "-7", "~a", "123456789012345678901"]
)
def test_a_text_is_kept_as_it_is_written(written):
    """What YAML takes for a number or a date is still the text that people see."""
    [task] = config(
        f"tasks: [{{kind: dub, task_id: {written}, name: {written}, labels: {{a: {written}}}}}]\n"
    ).registrations
    assert (task.key.task_id, task.name, task.labels["a"]) == (written, written, written)


def test_a_file_that_cannot_be_read_is_a_config_error(tmp_path):
    """No traceback for a folder, a missing file, or a name that can be none."""
    for path, words in (
        (tmp_path, "cannot be read: Is a directory"),
        (NOWHERE, "cannot be read: No such file or directory"),
        (tmp_path / "a\0b", "this is not the name of a file"),
    ):
        with pytest.raises(ConfigError) as caught:
            load(path, {})
        assert str(caught.value) == f"{path}: {words}"
        assert caught.value.mistakes[0].place is None
