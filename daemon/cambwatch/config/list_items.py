"""
A document, section by section and entry by entry.

Each is validated by itself, so that a mistake in one keeps no mistake in another
from being found, and so that those which are right can be held against each other.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from cambwatch.config.entries import DestinationEntry, RouteEntry, TaskEntry
from cambwatch.config.errors import Finding, KeyPath
from cambwatch.config.readers import read_name
from cambwatch.config.secrets import ReadContext
from cambwatch.config.sections import (
    CambSection,
    Config,
    HttpSection,
    LogSection,
    PollingSection,
    ResultsSection,
    StoreSection,
)
from cambwatch.config.wording import explain, keys, mapping_needed, unknown_key
from cambwatch.config.yaml_document import Document
from cambwatch.core.accounts import DEFAULT_ACCOUNT
from cambwatch.core.redaction import Secret

M = TypeVar("M", bound=BaseModel)

_ROOT_KEYS = ("egress_proxy", "egress_proxy_file")
"""Keys of the root that are no section."""


@dataclass(slots=True)
class Sections:
    """What of a document is right by itself; None, or not in the mapping, where it is not."""

    document: Document
    camb: CambSection | None = None
    polling: PollingSection | None = None
    results: ResultsSection | None = None
    store: StoreSection | None = None
    http: HttpSection | None = None
    log: LogSection | None = None
    egress_proxy: Secret | None = None
    destinations: dict[str, DestinationEntry] = field(default_factory=dict)
    routes: dict[int, RouteEntry] = field(default_factory=dict)
    tasks: dict[int, TaskEntry] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def destination_names(self) -> Mapping[str, Any]:
        """Every destination that the file names, also those with mistakes."""
        return _mapping(self.document.root.get("destinations"))

    def account_names(self) -> Mapping[str, Any]:
        """Every account that the file names, also those with mistakes."""
        names = _mapping(_mapping(self.document.root.get("camb")).get("accounts"))
        unsure = any(finding.path[:1] == ("camb",) for finding in self.document.findings)
        has_default = self.camb is None or unsure or self.camb.api_key or self.camb.api_key_file
        return {DEFAULT_ACCOUNT: None, **names} if has_default else names

    def config(self) -> Config:
        """All together; only where there are no findings."""
        everything = {
            "camb": self.camb,
            "polling": self.polling,
            "results": self.results,
            "store": self.store,
            "http": self.http,
            "log": self.log,
            "egress_proxy": self.egress_proxy,
            "destinations": self.destinations,
            "routes": tuple(self.routes.values()),
            "tasks": tuple(self.tasks.values()),
        }
        return Config.model_validate(everything)


def read_sections(document: Document, read_context: ReadContext) -> Sections:
    """The parts of *document*, whose root is a mapping, and what is wrong with each by itself."""
    root: Mapping[str, Any] = document.root
    reader = _SectionReader(document, read_context)
    root_values = reader.section((), Config, {key: root[key] for key in _ROOT_KEYS if key in root})
    sections = Sections(
        document,
        camb=reader.section(("camb",), CambSection, root.get("camb")),
        polling=reader.section(("polling",), PollingSection, root.get("polling")),
        results=reader.section(("results",), ResultsSection, root.get("results")),
        store=reader.section(("store",), StoreSection, root.get("store")),
        http=reader.section(("http",), HttpSection, root.get("http")),
        log=reader.section(("log",), LogSection, root.get("log")),
        egress_proxy=root_values.proxy if root_values else None,
        destinations=reader.named(("destinations",), DestinationEntry, root.get("destinations")),
        routes=reader.listed(("routes",), RouteEntry, root.get("routes")),
        tasks=reader.listed(("tasks",), TaskEntry, root.get("tasks")),
        findings=reader.findings,
    )
    known = keys(Config)
    sections.findings += [unknown_key((key,), known) for key in root if key not in known]
    return sections


class _SectionReader:
    def __init__(self, document: Document, read_context: ReadContext) -> None:
        self._document = document
        self._read_context = read_context
        self.findings: list[Finding] = []

    def section(self, path: KeyPath, model: type[M], value: Any) -> M | None:
        # A section may stand empty, with every key in it commented out; an entry of a list or by a name may not.
        content = {} if value is None and len(path) == 1 else value
        try:
            return model.model_validate(content, context=self._read_context)
        except ValidationError as error:
            self.findings += explain(error, path, model, self._document)
            return None

    def named(self, path: KeyPath, model: type[M], value: Any) -> dict[str, M]:
        if value is not None and not isinstance(value, Mapping):
            self.findings.append(Finding(path, mapping_needed(value)))
            return {}
        right = {}
        for name, inner in (value or {}).items():
            try:
                read_name(name)
            except ValueError as error:
                self.findings.append(Finding((*path, name), str(error), at_key=True))
            if (section := self.section((*path, name), model, inner)) is not None:
                right[name] = section
        return right

    def listed(self, path: KeyPath, model: type[M], value: Any) -> dict[int, M]:
        if value is not None and not isinstance(value, list):
            self.findings.append(Finding(path, "must be a list: every entry begins with a dash"))
            return {}
        found = {index: self.section((*path, index), model, inner) for index, inner in enumerate(value or [])}
        return {index: section for index, section in found.items() if section is not None}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
