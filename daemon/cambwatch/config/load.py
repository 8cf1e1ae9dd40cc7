"""From a file to a Config or to all of its mistakes; also what `check`, a reload and the client commands read of it."""

import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from cambwatch.config.checks import check_sections, find_warnings
from cambwatch.config.errors import ConfigError, ConfigMistake, Finding, KeyPath, Place, format_path
from cambwatch.config.list_items import Sections, read_sections
from cambwatch.config.secrets import ReadContext, SystemdCredential
from cambwatch.config.sections import Config, HttpSection
from cambwatch.config.urls import TcpListen, UnixListen
from cambwatch.config.yaml_document import MOST_BYTES, Document, UnreadableError, read_document
from cambwatch.core.redaction import SHORTEST_SECRET, Secret

PLACES = (Path("config.yaml"), Path("/etc/cambwatch/config.yaml"))
"""Where cambwatch looks for a configuration without --config."""

BEGIN = "copy config.example.yaml to config.yaml and change what you need"


def find(path: str | None, environ: Mapping[str, str], *, places: Sequence[Path] = PLACES) -> Path:
    """
    The file to load: *path* (--config), else $CAMBWATCH_CONFIG, else the first of *places* that is there.

    Raises ConfigError where there is none.
    """
    for named, by in ((path, "--config"), (environ.get("CAMBWATCH_CONFIG"), "$CAMBWATCH_CONFIG")):
        if named:
            if absent(Path(named)):
                raise failed(named, f"there is no such file (named by {by}); {BEGIN}")
            return Path(named)
    for place in places:
        if not absent(place):
            return place
    looked = " nor ".join(map(str, places))
    raise failed(str(places[0]), f"no configuration: neither {looked} is there, and --config names none; {BEGIN}")


def read_bytes(path: Path) -> bytes:
    """The beginning of the file, one byte more than a configuration may have; raises ConfigError."""
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except OSError as error:
        raise failed(str(path), f"cannot be read: {error.strerror}") from None
    except ValueError:  # a null character in the name
        raise failed(str(path), "this is not the name of a file") from None


def absent(path: Path) -> bool:
    """Whether nothing is there; False where that cannot be known."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):  # opening it will say what is the matter
        return False
    return False


def failed(file: str, message: str, place: Place | None = None) -> ConfigError:
    """The error of a file in which nothing could be looked at."""
    return ConfigError([ConfigMistake(file, place, "", message)])


_LISTEN, _STORE = "http.listen", "store.url"


class ConfigChange(NamedTuple):
    """A configuration that replaces another; with *reload_others* the other nodes read their files again, too."""

    config: Config
    reload_others: bool = False


def apply_to_running(running: Config, changed: Config) -> tuple[Config, list[str]]:
    """
    *changed*, but where to listen and the database, which stay as they are; and which of these it would have changed.

    Raises ValueError, with what to do, where *changed* is right only with its own http.listen.
    """
    kept = []
    if changed.http.listen != running.http.listen:
        kept.append(_LISTEN)
        if not running.http.listen.loopback and not changed.http.bearer:
            raise ValueError(
                f"http.token: is needed as long as the daemon listens at {running.http.listen}: "
                f"keep it, or restart for the new {_LISTEN}"
            )
    if changed.store.where != running.store.where:
        kept.append(_STORE)
    same = changed.model_copy(
        update={
            "http": changed.http.model_copy(update={"listen": running.http.listen}),
            "store": changed.store.model_copy(update={"url": running.store.url, "url_file": running.store.url_file}),
        }
    )
    return same, kept


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


def database(path: str | None, environ: Mapping[str, str]) -> Path:
    """
    The SQLite file of the daemon with the configuration of find().

    Only `store` has to be valid: the caller need not have the keys and URLs of the
    daemon. Raises ConfigError, also where the database is no file.
    """
    found = find(path, environ)
    examined = examine(read_bytes(found), file=str(found), folder=found.absolute().parent, environ=environ)
    examined.raise_for(finding for finding in examined.mistakes if finding.path[:1] in {(), ("store",)})
    assert examined.parts.store is not None  # noqa: S101 - without it there would be a mistake
    if (file := examined.parts.store.path) is None:
        examined.raise_for([Finding(("store", "url"), "is a PostgreSQL server: copy its database with pg_dump")])
    assert file is not None  # noqa: S101 - refused otherwise
    return file


_EVERY_INTERFACE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # where to reach such a listener from this machine


@dataclass(frozen=True, slots=True)
class DaemonAddress:
    """*url* is the root of the intake; with *socket*, the path of a Unix socket, its host means nothing."""

    url: str
    token: Secret | None = None
    socket: str | None = None


def daemon_api(path: str | None, environ: Mapping[str, str], *, places: Sequence[Path] = PLACES) -> DaemonAddress:
    """
    Where the daemon with the configuration of find() listens, the default address where there is no file.

    Only `http` has to be valid: the client need not have the keys and URLs of the
    daemon. Raises ConfigError.
    """
    unspecified = not path and not environ.get("CAMBWATCH_CONFIG")
    if unspecified and all(absent(place) for place in places):
        return _address(HttpSection())
    found = find(path, environ, places=places)
    examined = examine(read_bytes(found), file=str(found), folder=found.absolute().parent, environ=environ)
    examined.raise_for(finding for finding in examined.mistakes if finding.path[:1] in {(), ("http",)})
    http = examined.parts.http or HttpSection()
    if isinstance(http.listen, TcpListen) and http.listen.port == 0:
        examined.raise_for(
            [Finding(("http", "listen"), "port 0 means any free port, so clients cannot find it: set a port")]
        )
    return _address(http)


def _address(http: HttpSection) -> DaemonAddress:
    match http.listen:
        case UnixListen(path):
            return DaemonAddress("http://localhost", http.bearer, path)
        case TcpListen(host, port):
            return DaemonAddress(f"http://{TcpListen(_EVERY_INTERFACE.get(host, host), port)}", http.bearer)
