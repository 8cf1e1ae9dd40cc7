"""Secrets: written in place, by a variable, or in a file beside it; never shown in a message."""

import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator, ValidationInfo, WithJsonSchema

from cambwatch.adapters import apprise
from cambwatch.config.errors import not_utf8
from cambwatch.config.readers import or_none, read_text
from cambwatch.config.urls import read_store_url, split_proxy, split_url
from cambwatch.core.formats.webhook import check_secret_format
from cambwatch.core.names import ValueMistake, find_value_mistake
from cambwatch.core.postgres_url import is_postgres
from cambwatch.core.redaction import Secret

LARGEST_FILE = 65_536  # bytes
LONGEST_KEY = 1000  # characters of a key that are checked; no placeholder is longer

_VISIBLE = re.compile(r"[\x21-\x7e]+")
_HEADER_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?")


@dataclass(slots=True)
class ReadContext:
    """The context of a configuration: its folder, the state folder, environment variables. Collects warnings."""

    folder: Path
    state_directory: Path | None = None
    warnings: list[str] = field(default_factory=list)
    environ: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SystemdCredential:
    """A file that systemd hands to the service; its mode is systemd's business."""

    path: Path


@dataclass(frozen=True, slots=True)
class HeaderFile:
    """The value of a header whose key ends in `_file`."""

    value: object


def read_secret(value: object, check: Callable[[str], None]) -> Secret:
    """The text of *value*, kept to itself. Raises ValueError without any of it."""
    if isinstance(value, Secret):
        return value
    text = read_text(value)
    if not text:
        raise ValueError("is empty")
    check(text)
    return Secret(text)


def read_secret_file(value: object, check: Callable[[str], None], read_context: object) -> Secret:
    """The text in the file that *value* names, without the line break at its end."""
    if not isinstance(read_context, ReadContext):
        raise ValueError("is only read together with the file that names it")  # noqa: TRY004 - pydantic knows ValueError
    path = value.path if isinstance(value, SystemdCredential) else read_context.folder / read_text(value)
    what = f"the systemd credential {path.name}" if isinstance(value, SystemdCredential) else "the file"
    # The path is not shown: who pastes the secret itself here must not find it in the log.
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(path.stat().st_mode)
            raw = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise ValueError(f"{what} cannot be read: {error.strerror}") from None
    except ValueError:
        raise ValueError("this is not the name of a file") from None
    if len(raw) > LARGEST_FILE:
        raise ValueError(f"{what} is larger than {LARGEST_FILE >> 10} KiB: it holds no secret")
    try:
        text = raw.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError(f"{what} is {not_utf8(raw)}") from None
    if not text:
        raise ValueError(f"{what} is empty")
    try:
        check(text)
    except ValueError as error:
        raise ValueError(f"in {what}: {error}") from None
    if mode & 0o044 and not isinstance(value, SystemdCredential):
        warning = f"{path}: others than its owner may read this secret (mode {mode:04o}): chmod 600 it"
        if warning not in read_context.warnings:
            read_context.warnings.append(warning)
    return Secret(text)


def check_token(text: str) -> None:
    """An API key or a bearer token: goes into a header as it is."""
    if find_value_mistake(text[:LONGEST_KEY]) is ValueMistake.HEADER:
        raise ValueError("is a whole header: give the key or token alone")
    if not _VISIBLE.fullmatch(text):
        raise ValueError("must be visible ASCII characters without spaces or line breaks")


def check_header_value(text: str) -> None:
    """RFC 9110, 5.5, without the bytes whose meaning is left open."""
    if not _HEADER_VALUE.fullmatch(text):
        raise ValueError("must be visible ASCII characters, with spaces only between them")


def check_url(text: str) -> None:
    """A URL whose path or query is the credential."""
    split_url(text)


def check_service_url(text: str) -> None:
    """The URL of an Apprise service, by its own parser where that is installed; checks.py asks whether it is."""
    if any(character.isspace() or not character.isprintable() for character in text):
        raise ValueError("a URL must not hold spaces or control characters: write %20 for a space")
    if apprise.is_installed() and (why := apprise.unusable_url_reason(text)):
        raise ValueError(why)


def check_proxy(text: str) -> None:
    """The URL of a proxy, which may hold a user and a password."""
    split_proxy(text)


def check_signing_secret(text: str) -> None:
    """What the signer takes, and how to make one."""
    try:
        check_secret_format(text)
    except ValueError as error:
        raise ValueError(f"{error}; make one with: echo whsec_$(openssl rand -base64 32)") from None


def _in_place(check: Callable[[str], None]) -> PlainValidator:
    return PlainValidator(or_none(lambda value: read_secret(value, check)))


def _in_file(check: Callable[[str], None]) -> PlainValidator:
    return PlainValidator(lambda value, info: _read_file(value, check, info))


def _read_file(value: object, check: Callable[[str], None], info: ValidationInfo) -> Secret | None:
    if value is None:
        return None
    twin = (info.field_name or "").removesuffix("_file")
    if info.data.get(twin):
        raise ValueError(f"give {twin} or {twin}_file, not both")
    return read_secret_file(value, check, info.context)


def _read_store_url(value: object, info: ValidationInfo) -> str:
    return read_store_url(value, info.context.environ if isinstance(info.context, ReadContext) else {})


def _check_store_url(text: str, info: ValidationInfo) -> None:
    if not is_postgres(_read_store_url(text, info)):
        raise ValueError("the file must hold postgresql://user:password@host/database")
    if is_postgres(info.data.get("url", "")):
        raise ValueError("give url or url_file, not both")


def _url_check(info: ValidationInfo) -> Callable[[str], None]:
    """By the type of the destination, which is read before its URL."""
    return check_service_url if info.data.get("type") == "apprise" else check_url


def _schema(description: str, *examples: str) -> WithJsonSchema:
    schema: dict[str, Any] = {"description": f"secret: {description}", "examples": list(examples)}
    return WithJsonSchema({"type": ["string", "null"]} | schema)


_FILE_SCHEMA = WithJsonSchema(
    {
        "type": ["string", "null"],
        "description": "file that holds the secret of this name, relative to the folder of the configuration",
        "examples": ["/etc/cambwatch/secret"],
    }
)

# Also where a whole configuration is written as JSON or YAML.
_AS_SHOWN = PlainSerializer(lambda secret: None if secret is None else str(secret), when_used="json")

TokenInPlace = Annotated[Secret | None, _in_place(check_token), _schema("visible ASCII", "${CAMB_API_KEY}"), _AS_SHOWN]
TokenInFile = Annotated[Secret | None, _in_file(check_token), _FILE_SCHEMA, _AS_SHOWN]
UrlInPlace = Annotated[
    Secret | None,
    PlainValidator(lambda value, info: or_none(lambda given: read_secret(given, _url_check(info)))(value)),
    _schema("https URL; with type apprise a URL of Apprise", "${SLACK_WEBHOOK_URL}"),
    _AS_SHOWN,
]
UrlInFile = Annotated[
    Secret | None,
    PlainValidator(lambda value, info: _read_file(value, _url_check(info), info)),
    _FILE_SCHEMA,
    _AS_SHOWN,
]
ProxyInPlace = Annotated[
    Secret | None, _in_place(check_proxy), _schema("http://host:port", "http://127.0.0.1:3128"), _AS_SHOWN
]
ProxyInFile = Annotated[Secret | None, _in_file(check_proxy), _FILE_SCHEMA, _AS_SHOWN]
StoreUrl = Annotated[
    str,
    PlainValidator(_read_store_url),
    WithJsonSchema({"type": "string", "examples": ["sqlite:///cambwatch.db", "${CAMBWATCH_STORE_URL}"]}),
    PlainSerializer(lambda url: url if url.startswith("sqlite:") else "<secret>", when_used="json"),
]
StoreUrlInFile = Annotated[
    Secret | None,
    PlainValidator(
        lambda value, info: (
            None if value is None else read_secret_file(value, lambda text: _check_store_url(text, info), info.context)
        )
    ),
    _FILE_SCHEMA,
    _AS_SHOWN,
]
SigningSecret = Annotated[
    Secret,
    PlainValidator(lambda value: read_secret(value, check_signing_secret)),
    WithJsonSchema({"type": "string", "pattern": r"^whsec_|\$\{", "examples": ["${PIPELINE_SECRET}"]}),
    _AS_SHOWN,
]
SigningSecretFile = Annotated[
    Secret,
    PlainValidator(lambda value, info: read_secret_file(value, check_signing_secret, info.context)),
    WithJsonSchema({"type": "string", "examples": ["/etc/cambwatch/pipeline.secret"]}),
    _AS_SHOWN,
]


def _read_header(value: object, info: ValidationInfo) -> Secret:
    if isinstance(value, HeaderFile):
        return read_secret_file(value.value, check_header_value, info.context)
    return read_secret(value, check_header_value)


HeaderValue = Annotated[Secret, PlainValidator(_read_header), WithJsonSchema({"type": ["string", "number"]}), _AS_SHOWN]
