"""Reads YAML safely into values that know how they were written and where they stand."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from cambwatch.config.errors import Finding, KeyPath, Place, is_name, not_utf8
from cambwatch.config.expand import expand, has_reference, why_not

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


Value = Any
"""None, a Scalar, a list of values, or a dict from str to values."""

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})


@dataclass(frozen=True, slots=True, repr=False)
class Scalar:
    """
    A value of the file that is neither empty, nor a list, nor a mapping.

    *text* has its variables replaced; *written* has not, and is what a message may
    show. *plain*: without quotes and without a variable, so that YAML might take it
    for something else than a text.
    """

    text: str
    written: str
    plain: bool


@dataclass(frozen=True, slots=True)
class Document:
    """A file's content. *findings* are the mistakes that leave the rest readable."""

    root: Value
    findings: tuple[Finding, ...]
    places: Mapping[KeyPath, Place]
    key_places: Mapping[KeyPath, Place]

    def value(self, path: KeyPath) -> Value:
        """What the file has at *path*; for the only entry of a list that is written without brackets, that."""
        found = self.root
        for step in path:
            match found:
                case dict() if step in found:
                    found = found[step]
                case list() if isinstance(step, int) and step < len(found):
                    found = found[step]
                case Scalar() if step == 0:
                    return found
                case _:
                    return None
        return found

    def place(self, path: KeyPath, *, at_key: bool = False) -> Place:
        """Where *path* stands; for what is not in the file, where the nearest thing around it stands."""
        for length in range(len(path), 0, -1):
            part = path[:length]
            # What a mapping lacks is reported at the key in front of it; what is wrong in a list of one, at the value.
            lacks_key = length < len(path) and isinstance(path[length], str)
            found = self.key_places.get(part) if at_key or lacks_key else None
            if found := found or self.places.get(part):
                return found
        return Place(1, 1)


def read_document(raw: bytes, environ: Mapping[str, str]) -> Document:
    """The values in *raw*, variables replaced; raises UnreadableError."""
    root = compose(raw)
    reader = _Reader(environ)
    value = reader.value(root, ()) if root else None
    return Document(value, tuple(reader.findings), reader.places, reader.key_places)


class _Reader:
    """Turns nodes into values and notes where each stands."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.findings: list[Finding] = []
        self.places: dict[KeyPath, Place] = {}
        self.key_places: dict[KeyPath, Place] = {}

    def value(self, node: YamlNode, path: KeyPath) -> Value:
        nothing = node.content == "" and node.plain
        self.places[path] = self.key_places.get(path, node.place) if nothing else node.place
        if node.foreign_tag:
            self._found(path, "YAML tags are not used here: put quotes around a text that begins with !")
            return None
        match node.content:
            case str(text):
                return self._scalar(text, path, plain=node.plain)
            case list(children) if node.is_mapping:
                return self._mapping(children, path)
            case children:
                return [
                    self.value(child, (*path, index))
                    for index, child in enumerate(children)
                    if isinstance(child, YamlNode)
                ]

    def _scalar(self, text: str, path: KeyPath, *, plain: bool) -> Scalar | None:
        if plain and text in _NULLS:
            return None
        if not has_reference(text):
            return Scalar(text, text, plain)
        replaced, missing = expand(text, self._environ)
        for name in missing:
            # The nearest of all variables is dear to find, and a hundred hints are enough.
            self._found(path, why_not(name, self._environ if len(self.findings) < 100 else {}))
        return None if missing else Scalar(replaced, text, plain=False)

    def _mapping(self, pairs: Any, path: KeyPath) -> dict[str, Value]:
        values: dict[str, Value] = {}
        merged: list[YamlNode] = []
        for key, node in pairs:
            if not isinstance(key.content, str) or key.foreign_tag:
                self.findings.append(Finding(path, "a key must be a text", place=key.place))
            elif key.content == "<<" and key.plain:
                merged.append(node)
            else:
                self._member(key, node, path, values)
        for node in merged:
            self._merge(node, path, values)
        return values

    def _member(self, key: YamlNode, node: YamlNode, path: KeyPath, values: dict[str, Value]) -> None:
        name = str(key.content)
        inner = (*path, name)
        if has_reference(name):
            self.key_places[inner] = key.place
            self._found(inner, "variables are not replaced in keys", at_key=True)
        elif name in values:
            first = self.key_places[inner]
            self.key_places[inner] = key.place
            shown = f"the key {name}" if is_name(name) else "this key"
            self._found(inner, f"{shown} is given twice (first in line {first.line})", at_key=True)
        else:
            self.key_places[inner] = key.place
            values[name] = self.value(node, inner)

    def _merge(self, node: YamlNode, path: KeyPath, values: dict[str, Value]) -> None:
        """Take from *node*, a mapping or a list of them, the keys that are not there; earlier ones win."""
        sources = [node] if node.is_mapping or isinstance(node.content, str) else node.content
        for source in sources:
            if not isinstance(source, YamlNode) or not source.is_mapping:
                place = source.place if isinstance(source, YamlNode) else node.place
                self.findings.append(Finding(path, "<< takes the alias of a mapping, or a list of them", place=place))
                continue
            inner = _Reader(self._environ)
            found = inner.value(source, path)
            new = {key: value for key, value in found.items() if key not in values}
            values.update(new)
            depth = len(path)
            for mine, theirs in ((self.places, inner.places), (self.key_places, inner.key_places)):
                mine.update({at: place for at, place in theirs.items() if len(at) > depth and at[depth] in new})
            self.findings += [found for found in inner.findings if found not in self.findings]

    def _found(self, path: KeyPath, message: str, *, at_key: bool = False) -> None:
        self.findings.append(Finding(path, message, at_key))
