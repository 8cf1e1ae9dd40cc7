"""A secret does not show itself."""

import copy
import json
import pickle
import traceback
from dataclasses import dataclass

import pytest

from cambwatch.core.redaction import Secret

TEXT = "sk-canary-4711"


@dataclass(frozen=True, slots=True)
class Holder:
    key: Secret


def test_reveal_gives_it_away() -> None:
    """To the one place that has to send it."""
    assert Secret(TEXT).reveal() == TEXT


@pytest.mark.parametrize(
    "shown",
    [
        repr(Secret(TEXT)),
        str(Secret(TEXT)),
        f"{Secret(TEXT)}",
        f"{Secret(TEXT)!r}",
        f"{Secret(TEXT)!s:>40}",
        f"{Secret(TEXT):>40}",
        "{0}".format(Secret(TEXT)),  # noqa: UP030, UP032 - it is this form that is tried
        "%s %r" % (Secret(TEXT), Secret(TEXT)),  # noqa: UP031 - so is this
        repr([Secret(TEXT)]),
        repr({Secret(TEXT): Secret(TEXT)}),
        repr(Holder(Secret(TEXT))),
        json.dumps({"key": Secret(TEXT)}, default=str),
    ],
)
def test_no_way_of_printing_shows_it(shown: str) -> None:
    """By itself or inside of something."""
    assert TEXT not in shown
    assert "<secret>" in shown


def test_json_refuses_it() -> None:
    """Rather than to write it down."""
    with pytest.raises(TypeError):
        json.dumps({"key": Secret(TEXT)})


def test_pickle_refuses_it() -> None:
    """So do copies by way of it."""
    for take in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="not pickled"):
            take(Secret(TEXT))


def test_tracebacks_with_locals_do_not_show_it() -> None:
    """A logger that prints local variables prints no key."""
    key = Secret(TEXT)
    with pytest.raises(KeyError) as caught:
        {}[key]
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert "key = <secret>" in shown
    assert TEXT not in shown


def test_secrets_are_equal_by_their_text() -> None:
    """Among themselves, and to nothing else."""
    assert Secret(TEXT) == Secret(TEXT)
    assert hash(Secret(TEXT)) == hash(Secret(TEXT))
    assert Secret(TEXT) != Secret("other")
    assert Secret(TEXT) != TEXT
    assert len({Secret(TEXT), Secret(TEXT), Secret("other")}) == 2


def test_nothing_can_be_put_beside_it() -> None:
    """It has no dict that a serialiser could find."""
    assert not hasattr(Secret(TEXT), "__dict__")
