"""
A YAML file as a tree of nodes, within limits.

Composed from the parser's events and not by PyYAML's own composer, which recurses
without bound and knows no limit to what aliases unfold to.
"""

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from cambwatch.config.errors import Place, not_utf8

MOST_BYTES = 1 << 20
MOST_NODES = 100_000  # with every alias unfolded
DEEPEST = 50

# With libyaml a file of 1 MiB takes a second, without it ten.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PLAIN_TAGS = frozenset({None, "!", *(f"tag:yaml.org,2002:{name}" for name in ("str", "map", "seq"))})
_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class UnreadableError(Exception):
    """The file is no YAML that we take; nothing more can be said about it."""

    def __init__(self, message: str, place: Place | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.place = place


def compose(raw: bytes) -> "YamlNode | None":
    """The root of the document in *raw*, None where there is none; raises UnreadableError."""
    composer = _Composer()
    text = _decode(raw)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            composer.add_event(event)
    except yaml.MarkedYAMLError as error:
        raise _explain_syntax(error, _end_of(text)) from None
    except (yaml.YAMLError, ValueError, OverflowError):  # the latter two: odd escapes, without libyaml
        raise UnreadableError("this is not YAML") from None
    return composer.root


def _decode(raw: bytes) -> str:
    if len(raw) > MOST_BYTES:
        raise UnreadableError(f"larger than {MOST_BYTES >> 20} MiB: this is no configuration")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8", "replace")
        why = not_utf8(raw)
        raise UnreadableError(why if ":" in why else f"{why}: is this the right file?", _end_of(before)) from None
    if odd := _FORBIDDEN.search(text):
        message = f"the control character U+{ord(odd.group()):04X} is not allowed: is this the right file?"
        raise UnreadableError(message, _end_of(text[: odd.start()]))
    return text


def _end_of(text: str) -> Place:
    return Place(text.count("\n") + 1, len(text) - text.rfind("\n"))


@dataclass(slots=True)
class YamlNode:
    """Part of the document before aliases are unfolded; *weight* and *height* count as if they were."""

    place: Place
    content: "str | list[YamlNode] | list[tuple[YamlNode, YamlNode]]"
    plain: bool = False
    is_mapping: bool = False
    foreign_tag: bool = False
    weight: int = 1
    height: int = 1


@dataclass(slots=True)
class _OpenCollection:
    """A list or mapping whose end has not been met."""

    place: Place
    anchor: str | None
    is_mapping: bool
    foreign_tag: bool
    children: list[YamlNode] = field(default_factory=list)


class _Composer:
    """Builds the tree of nodes out of events, without recursion and within the limits."""

    def __init__(self) -> None:
        self.root: YamlNode | None = None
        self._documents = 0
        self._weight = 0
        self._stack: list[_OpenCollection] = []
        self._anchors: dict[str, YamlNode | None] = {}  # None: its end has not been met

    def add_event(self, event: Any) -> None:
        place = _place(event.start_mark)
        match event:
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    raise UnreadableError("a second YAML document begins here: one file has one", place)
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                if event.anchor:
                    self._anchors[event.anchor] = None
                is_mapping = isinstance(event, yaml.MappingStartEvent)
                self._stack.append(_OpenCollection(place, event.anchor, is_mapping, event.tag not in _PLAIN_TAGS))
                self._limit(place, weight=1, height=0)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._close()
            case yaml.ScalarEvent():
                plain = event.style in {None, ""} and event.tag is None
                node = YamlNode(place, event.value, plain=plain, foreign_tag=event.tag not in _PLAIN_TAGS)
                self._limit(place, weight=1, height=1)
                self._add(node, event.anchor)
            case yaml.AliasEvent():
                self._add(self._resolve(event.anchor or "", place), None)

    def _resolve(self, anchor: str, place: Place) -> YamlNode:
        # The name is not shown: it may be a password that begins with a star.
        if anchor not in self._anchors:
            raise UnreadableError("no anchor of this name: put quotes around a text that begins with *", place)
        node = self._anchors[anchor]
        if node is None:
            raise UnreadableError("this alias stands inside its own anchor", place)
        self._limit(place, weight=node.weight, height=node.height)
        return node

    def _limit(self, place: Place, *, weight: int, height: int) -> None:
        self._weight += weight
        if self._weight > MOST_NODES:
            raise UnreadableError(f"more than {MOST_NODES} values, aliases unfolded: this is no configuration", place)
        if len(self._stack) + height > DEEPEST:
            raise UnreadableError(f"nested more than {DEEPEST} deep: this is no configuration", place)

    def _close(self) -> None:
        done = self._stack.pop()
        children = done.children
        content = list(zip(children[::2], children[1::2], strict=True)) if done.is_mapping else children
        self._add(
            YamlNode(
                done.place,
                content,
                is_mapping=done.is_mapping,
                foreign_tag=done.foreign_tag,
                weight=1 + sum(child.weight for child in children),
                height=1 + max((child.height for child in children), default=0),
            ),
            done.anchor,
        )

    def _add(self, node: YamlNode, anchor: str | None) -> None:
        if anchor:
            self._anchors[anchor] = node
        if self._stack:
            self._stack[-1].children.append(node)
        else:
            self.root = node


def _place(mark: Any) -> Place:
    return Place(mark.line + 1, mark.column + 1)


_SYNTAX = (
    ("mapping values", "a colon cannot stand here: check the indentation, or put quotes around a text that holds ': '"),
    ("cannot start any token", "no text can begin with this character: put quotes around it, and indent with spaces"),
    ("expected ':'", "a key without a colon, or a text that goes on in the wrong column"),
    ("expected key", "no key: value where one is expected; check the indentation and the quotes before this place"),
    ("expected ',' or", "a comma or the closing bracket is missing"),
    ("expected node content", "a value is expected here; put quotes around a text that begins with a bracket"),
    ("expected '-' indicator", "an entry that begins with - is expected; check the indentation"),
    ("unexpected end of stream", "the quote that begins here is not closed"),
    ("unknown escape", "unknown escape after a backslash: use single quotes, in which a backslash is a backslash"),
    ("expected alphabetic", "a text that begins with * or & needs quotes"),
)


def _explain_syntax(error: yaml.MarkedYAMLError, end: Place) -> UnreadableError:
    stuck = _place(error.problem_mark) if error.problem_mark else None
    begun = _place(error.context_mark) if error.context_mark else None
    problem = error.problem or ""
    message = next((ours for words, ours in _SYNTAX if words in problem), problem)
    # The end of the file is no help to find what was not closed.
    place = begun if begun and (stuck is None or stuck >= end) else stuck
    if begun and begun != place and "bracket is missing" in message:
        message += f" (of what begins in line {begun.line})"
    return UnreadableError(f"not valid YAML: {message}", place)
