"""Warns about valid settings that are likely mistakes: in `check`, and as `config.doubtful` in the log."""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from cambwatch.config.entries import DestinationEntry
from cambwatch.config.errors import Finding, KeyPath
from cambwatch.config.list_items import Sections
from cambwatch.config.model import AccountEntry, CambSection, HttpSection
from cambwatch.config.secrets import LONGEST_KEY
from cambwatch.core.addresses import is_loopback
from cambwatch.core.placeholders import ValueMistake, find_value_mistake
from cambwatch.core.postgres_url import is_postgres, parse_postgres_url
from cambwatch.core.secret import Secret
from cambwatch.core.service_urls import camb_url_warning, destination_url_warning

_FILE = re.compile(r"(~|\.{1,2})/.+|/(etc|home|mnt|opt|root|run|secrets?|srv|tmp|usr|var)/.+|[A-Za-z]:\\.+")
_SIGNING = "whsec_"


def find_warnings(parts: Sections) -> Iterator[Finding]:
    """Warnings about *parts*, whose values are all valid. No message shows a secret."""
    if parts.store and is_postgres(parts.store.where):
        at: KeyPath = ("store", "url_file" if parts.store.url_file else "url")
        yield from (Finding(at, note) for note in parse_postgres_url(parts.store.where, {}).warnings)
    if parts.camb:
        yield from _warn_camb(parts.camb)
    if parts.http:
        yield from _warn_http(parts.http)
    for name, destination in parts.destinations.items():
        yield from _warn_destination(("destinations", name), destination)


def _warn_camb(camb: CambSection) -> Iterator[Finding]:
    sections: dict[KeyPath, CambSection | AccountEntry] = {("camb",): camb}
    sections |= {("camb", "accounts", name): account for name, account in camb.accounts.items()}
    for path, section in sections.items():
        yield from _warn_key(path, "api_key", section.api_key, section.api_key_file, "the API key that Camb shows")
        url = section.base_url
        if url and urlsplit(url).scheme == "http" and not is_loopback(urlsplit(url).hostname or ""):
            yield Finding((*path, "base_url"), "the API key goes over the network unencrypted: use https")
        if url and (why := camb_url_warning(url)):
            yield Finding((*path, "base_url"), why)


def _warn_http(http: HttpSection) -> Iterator[Finding]:
    meant = "a long random text, such as: openssl rand -hex 32"
    yield from _warn_key(("http",), "token", http.token, http.token_file, meant)


def _warn_key(
    section: KeyPath, name: str, in_place: Secret | None, in_file: Secret | None, meant: str
) -> Iterator[Finding]:
    key = in_place or in_file
    if key is None:
        return
    at = (*section, name if in_place else f"{name}_file")
    text = key.reveal()
    if _FILE.fullmatch(text):
        yield Finding(at, f"is a file name: set {name}_file instead")
    elif text.startswith(_SIGNING):
        yield Finding(at, f"is a signing secret: give {meant}")
    elif why := _find_key_mistake(text):
        yield Finding(at, f"{why}: {'remove it' if why.removable else f'give {meant}'}")


def _warn_destination(base: KeyPath, destination: DestinationEntry) -> Iterator[Finding]:
    url = destination.url or destination.url_file
    if url and destination.type != "apprise":
        own_body = destination.body_template is not None
        if why := destination_url_warning(destination.type, url.reveal(), own_body=own_body):
            yield Finding((*base, "url" if destination.url else "url_file"), why)
    for key, secrets in (("secret", destination.secret), ("secret_file", destination.secret_file)):
        for index, secret in enumerate(secrets):
            if why := _find_key_mistake(secret.reveal().removeprefix(_SIGNING)):
                yield Finding((*base, key, index), f"{why}: make one with: echo whsec_$(openssl rand -base64 32)")
    for name, value in destination.headers.items():
        if name.removesuffix("_file") == "authorization":
            _, _, credentials = value.reveal().rpartition(" ")
            if why := _find_key_mistake(credentials):
                yield Finding((*base, "headers", name), f"its credentials: {why}; give those of the receiver")


def _find_key_mistake(text: str) -> ValueMistake | None:
    return find_value_mistake(text) if len(text) <= LONGEST_KEY else None
