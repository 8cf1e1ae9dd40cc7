"""Whatever the file holds: a configuration or a ConfigError."""

import string

import yaml
from config_samples import HOOK, KEY, NOWHERE, SECRET
from hypothesis import given
from hypothesis import strategies as st

from cambwatch.config import Config, ConfigError, Place, daemon_api, loads, schema
from cambwatch.core.routing import Destination

ENVIRON = {"A": "one", "EMPTY": "", "STRANGE": "\udcff{a: *b}\n", "HOME": "/"}


def words():
    """Every key and every word that the configuration knows."""
    found = set()

    def walk(value):
        if isinstance(value, dict):
            found.update(value.get("properties", ()))
            found.update(word for word in value.get("enum", ()) if isinstance(word, str))
            for inner in value.values():
                walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)

    walk(schema())
    return sorted(found)


KNOWN = words()
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=10),
    st.sampled_from([*KNOWN, "5s", "1h30m", "127.0.0.1:80", "https://a.b/c", SECRET, "10/s", "${A}", "${B:-x}", "${"]),
)
SOME_KEYS = st.one_of(st.sampled_from(KNOWN), st.sampled_from(["default", "a", "b", "dub"]), st.text(max_size=5))
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(SOME_KEYS, inner, max_size=5),
    max_leaves=25,
)
SECTIONS = st.dictionaries(st.sampled_from(sorted(schema()["properties"])), DOCUMENTS, max_size=5)
FRAGMENTS = st.lists(
    st.sampled_from([*(f"{word}: " for word in KNOWN),
                     "\n", "\n  ", "\n    - ", "{", "}", "[", "]", ", ", "&a ", "*a", "<<: ", "!!str ",
                     "'", '"', "#", "|", ">", "? ", "${A}", "${", "$${", "5s", "---\n", "\t", "\u2028", "é", "a", "%"])
    | st.text(string.printable, max_size=3),
    max_size=40,
).map("".join)  # fmt: skip


def check(raw):
    """Load *raw*: what comes back can be used, what is raised can be read."""
    try:
        config = loads(raw, file="c.yaml", folder=NOWHERE, environ=ENVIRON).config
    except ConfigError as error:
        mistakes = error.mistakes
    else:
        assert isinstance(config, Config)
        assert all(task.key.account in config.accounts for task in config.registrations)
        assert all(isinstance(destination, Destination) for destination in config.destinations.values())
        assert all(set(route.notify) <= set(config.destinations) for route in config.routes)
        return
    assert mistakes
    assert all("\n" not in str(problem) and problem.message for problem in mistakes)
    places = [problem.place or Place(0, 0) for problem in mistakes]
    assert places == sorted(places)


@given(st.binary(max_size=200))
def test_any_bytes(raw):
    """Most are no text, and none of them does harm."""
    check(raw)


@given(FRAGMENTS)
def test_anything_that_looks_like_yaml(text):
    """Broken, nested, aliased, tagged."""
    check(text.encode())
    check((KEY + HOOK + text).encode())


@given(DOCUMENTS)
def test_any_document(document):
    """Values of every type at the root."""
    check(yaml.safe_dump(document, allow_unicode=True).encode("utf-8", "replace"))


@given(SECTIONS)
def test_any_values_under_the_right_keys(document):
    """Every key meets every type."""
    check(yaml.safe_dump(document, allow_unicode=True, sort_keys=False).encode("utf-8", "replace"))


@given(SECTIONS)
def test_a_client_fails_no_other_way(tmp_path_factory, document):
    """intake() reads the same files."""
    path = tmp_path_factory.getbasetemp() / "hostile.yaml"
    path.write_bytes(yaml.safe_dump(document, allow_unicode=True).encode("utf-8", "replace"))
    try:
        found = daemon_api(str(path), ENVIRON)
    except ConfigError:
        return
    assert found.url.startswith("http://")
