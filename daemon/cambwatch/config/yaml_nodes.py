"""The nodes of a YAML file as values that know how they were written and where they stand."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cambwatch.config.errors import Finding, KeyPath, Place, is_name
from cambwatch.config.expand import expand, has_reference, why_not
from cambwatch.config.yaml_reader import YamlNode, compose

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
