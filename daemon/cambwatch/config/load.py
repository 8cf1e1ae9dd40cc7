"""From a file to a configuration, or to everything that is wrong with it."""

import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from cambwatch.config.checks import check_sections
from cambwatch.config.doubts import find_warnings
from cambwatch.config.errors import ConfigError, ConfigMistake, Finding, KeyPath, Place, format_path
from cambwatch.config.files import BEGIN, absent, failed, read_bytes
from cambwatch.config.list_items import Sections, read_sections
from cambwatch.config.model import Config
from cambwatch.config.secrets import ReadContext, SystemdCredential
from cambwatch.config.yaml_nodes import Document, read_document
from cambwatch.config.yaml_reader import UnreadableError
from cambwatch.core.redaction import SHORTEST_SECRET
from cambwatch.core.secret import Secret

_CREDENTIALS = (("camb", "api_key", "camb_api_key"), ("http", "token", "http_token"))


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """
    A configuration that can be used.

    *warnings* are sentences for the log. *secrets* are the texts that no log line
    may hold.
    """

    config: Config
    warnings: tuple[str, ...]
    secrets: tuple[Secret, ...]


def load(path: Path, environ: Mapping[str, str]) -> LoadedConfig:
    """The configuration in the file *path*; raises ConfigError, and nothing else, with all its mistakes."""
    raw = read_bytes(path)
    loaded = loads(raw, file=str(path), folder=path.absolute().parent, environ=environ)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o044 and any(_contains(raw, one) for one in loaded.config.credentials()):
        warning = (
            f"{path}: others than its owner may read the secrets in this file (mode {mode:04o}): chmod 600 it, "
            "or keep them elsewhere (..._file, ${VAR})"
        )
        return replace(loaded, warnings=(*loaded.warnings, warning))
    return loaded


def _contains(raw: bytes, secret: Secret) -> bool:
    text = secret.reveal().encode()
    return len(text) >= SHORTEST_SECRET and text in raw


def loads(raw: bytes, *, file: str, folder: Path, environ: Mapping[str, str]) -> LoadedConfig:
    """The configuration in *raw*, which messages call *file*; files of secrets are relative to *folder*."""
    examined = examine(raw, file=file, folder=folder, environ=environ)
    examined.raise_for(examined.mistakes)
    config = examined.parts.config()
    return LoadedConfig(config, examined.warnings, config.secrets())


@dataclass(frozen=True, slots=True)
class ExaminedConfig:
    """The content of *file*, and what is wrong with it and with its parts."""

    file: str
    document: Document
    parts: Sections
    mistakes: tuple[Finding, ...]
    warnings: tuple[str, ...]

    def raise_for(self, mistakes: Iterable[Finding]) -> None:
        """Raise ConfigError if there are any *mistakes*."""
        if found := _config_mistakes(self.file, self.document, mistakes):
            raise ConfigError(found)


def examine(raw: bytes, *, file: str, folder: Path, environ: Mapping[str, str]) -> ExaminedConfig:
    """What is in *raw*; raises ConfigError only where it holds no mapping at all."""
    try:
        document = read_document(raw, environ)
    except UnreadableError as error:
        raise failed(file, error.message, error.place) from None
    if document.root is None and not document.findings:
        raise failed(file, f"the file is empty: {BEGIN}", Place(1, 1))
    if not isinstance(document.root, dict):
        if document.findings:
            raise ConfigError(_config_mistakes(file, document, document.findings))
        message = "this is not a mapping of sections (camb, polling, destinations, ...): compare config.example.yaml"
        raise failed(file, message, document.places[()])

    read_context = ReadContext(folder, _state_directory(environ), environ=environ)
    _add_credentials(document, environ)
    parts = read_sections(document, read_context)
    mistakes = _without_follow_ups(document, [*parts.findings, *check_sections(parts)])
    warnings = (*map(str, _config_mistakes(file, document, find_warnings(parts))), *read_context.warnings)
    return ExaminedConfig(file, document, parts, tuple(mistakes), warnings)


def _state_directory(environ: Mapping[str, str]) -> Path | None:
    first = environ.get("STATE_DIRECTORY", "").partition(":")[0]  # systemd lists several with colons
    return Path(first) if first else None


def _add_credentials(document: Document, environ: Mapping[str, str]) -> None:
    """Put in the secrets that systemd holds for us, where the file has none."""
    directory = environ.get("CREDENTIALS_DIRECTORY")
    if not directory:
        return
    for section, key, name in _CREDENTIALS:
        path = Path(directory, name)
        content = document.root.get(section)
        content = {} if content is None else content
        given = isinstance(content, dict) and any(content.get(twin) is not None for twin in (key, f"{key}_file"))
        tried = any(finding.path[:1] == (section,) for finding in document.findings)
        if isinstance(content, dict) and not given and not tried and not absent(path):
            document.root[section] = content | {f"{key}_file": SystemdCredential(path)}


def _without_follow_ups(document: Document, findings: list[Finding]) -> list[Finding]:
    """The document's own findings and those of *findings* that do not just repeat one of them."""
    broken = {finding.path for finding in document.findings if not finding.at_key and finding.place is None}
    own = [
        finding
        for finding in findings
        # A key is not right because what stands behind it cannot be read.
        if not any(finding.path[:length] in broken for length in range(len(finding.path) + (not finding.at_key)))
    ]
    return [*document.findings, *own]


def _as_written(document: Document, path: KeyPath) -> KeyPath:
    """*path* without the index that a list of one got, which the file gives without brackets."""
    return path[:-1] if path[-1:] == (0,) and path not in document.places else path


def _config_mistakes(file: str, document: Document, findings: Iterable[Finding]) -> list[ConfigMistake]:
    return [
        ConfigMistake(
            file,
            finding.place or document.place(finding.path, at_key=finding.at_key),
            format_path(_as_written(document, finding.path)),
            finding.message,
        )
        for finding in findings
    ]
