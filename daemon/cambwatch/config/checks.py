"""Checks across keys and sections: mistakes that only several values show, and warnings about doubtful ones."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

from cambwatch.adapters import apprise
from cambwatch.config.entries import GIVE_UP_AFTER, DestinationEntry, RouteEntry, TaskEntry, When
from cambwatch.config.errors import Finding, KeyPath, did_you_mean, format_path
from cambwatch.config.list_items import Sections
from cambwatch.config.readers import shown, write_span
from cambwatch.config.secrets import LONGEST_KEY
from cambwatch.config.sections import AccountEntry, CambSection, HttpSection, PollingSection
from cambwatch.config.templates import is_json, why_no_alert, why_not_json
from cambwatch.config.urls import why_private
from cambwatch.config.yaml_document import Document
from cambwatch.core.accounts import DEFAULT_ACCOUNT
from cambwatch.core.addresses import is_loopback
from cambwatch.core.camb import kinds
from cambwatch.core.model import TaskKey
from cambwatch.core.names import ValueMistake, find_value_mistake
from cambwatch.core.postgres_url import is_postgres, parse_postgres_url
from cambwatch.core.redaction import Secret
from cambwatch.core.service_urls import camb_url_warning, destination_url_warning


@dataclass(frozen=True, slots=True)
class _KnownNames:
    """The names that others may refer to."""

    document: Document
    accounts: Mapping[str, object]
    destinations: Mapping[str, object]

    def account(self, at: KeyPath, name: str) -> Iterator[Finding]:
        # Where there is no account at all, _check_camb has said so.
        if self.accounts and name not in self.accounts:
            yield Finding(at, f"unknown account {self._shown(at)}{did_you_mean(name, self.accounts)}")

    def destinations_of(self, base: KeyPath, names: Iterable[str]) -> Iterator[Finding]:
        for index, name in enumerate(names):
            yield from self.destination((*base, index), name)

    def destination(self, at: KeyPath, name: str) -> Iterator[Finding]:
        if name not in self.destinations:
            hint = did_you_mean(name, self.destinations) if self.destinations else ": there are none"
            yield Finding(at, f"unknown destination {self._shown(at)}{hint}")

    def _shown(self, at: KeyPath) -> str:
        """What the file has there, which may be a variable with a secret in it."""
        return shown(self.document.value(at))


def check_sections(parts: Sections) -> Iterator[Finding]:
    """The mistakes that show only when *parts* are held against each other."""
    document = parts.document
    if parts.camb:
        yield from _check_camb(parts.camb)
    if parts.polling:
        yield from _check_polling(parts.polling, document)
    if parts.http:
        yield from _check_http(parts.http)
    for name, destination in parts.destinations.items():
        yield from _check_destination(("destinations", name), destination, proxy=parts.egress_proxy)
    known = _KnownNames(document, parts.account_names(), parts.destination_names())
    for name, destination in parts.destinations.items():
        yield from _check_fallback(name, destination, parts, known)
    for index, route in parts.routes.items():
        yield from _check_route(("routes", index), route, known)
    first: dict[TaskKey, KeyPath] = {}
    for index, task in parts.tasks.items():
        yield from _check_task(("tasks", index), task, known)
        before = first.setdefault(task.key, ("tasks", index))
        if before != ("tasks", index):
            line = document.place(before).line
            yield Finding(("tasks", index, "task_id"), f"is watched already by {format_path(before)} (line {line})")


def _check_camb(camb: CambSection) -> Iterator[Finding]:
    if DEFAULT_ACCOUNT in camb.accounts:
        message = f"{DEFAULT_ACCOUNT} is the account of camb.api_key: choose another name"
        yield Finding(("camb", "accounts", DEFAULT_ACCOUNT), message, at_key=True)
    for name, account in camb.accounts.items():
        if not (account.api_key or account.api_key_file):
            yield Finding(("camb", "accounts", name, "api_key"), "is missing (or api_key_file)")
    if not (camb.api_key or camb.api_key_file or camb.accounts):
        yield Finding(
            ("camb", "api_key"),
            "is missing: write api_key: ${CAMB_API_KEY}, or api_key_file: FILE, "
            "or give the service the systemd credential camb_api_key",
        )


def _check_polling(polling: PollingSection, document: Document) -> Iterator[Finding]:
    base: KeyPath = ("polling",)
    shortest, longest = polling.min_interval, polling.max_interval
    if shortest > longest:
        at = _first_written(document, base, ("min_interval", "max_interval"))
        yield Finding(at, f"min_interval ({write_span(shortest)}) is longer than max_interval ({write_span(longest)})")
    else:
        limit = "min_interval" if polling.interval < shortest else "max_interval"
        at = _first_written(document, base, ("interval", limit))
        yield from _check_interval(at, polling.interval, shortest, longest)
        for written, kind in _kinds_as_written(document):
            own = polling.kinds[kind].interval
            if own is not None:
                yield from _check_interval((*base, "kinds", written, "interval"), own, shortest, longest)
    first: dict[str, str] = {}
    for written, kind in _kinds_as_written(document):
        if first.setdefault(kind, written) != written:
            message = f"is the kind {kind}, which stands here already as {first[kind]}"
            yield Finding((*base, "kinds", written), message, at_key=True)


def _check_interval(at: KeyPath, interval: timedelta, shortest: timedelta, longest: timedelta) -> Iterator[Finding]:
    written = f"interval ({write_span(interval)})"
    if interval < shortest:
        yield Finding(at, f"{written} is shorter than min_interval ({write_span(shortest)}): lower that as well")
    if interval > longest:
        yield Finding(at, f"{written} is longer than max_interval ({write_span(longest)}): raise that as well")


def _kinds_as_written(document: Document) -> list[tuple[str, str]]:
    polling = document.root.get("polling") or {}
    found = [(written, kinds.find_kind(written)) for written in polling.get("kinds") or {}]
    return [(written, kind.name) for written, kind in found if kind]


def _first_written(document: Document, base: KeyPath, names: Iterable[str]) -> KeyPath:
    return next((path for name in names if (path := (*base, name)) in document.places), base)


def _check_http(http: HttpSection) -> Iterator[Finding]:
    if not http.listen.loopback and not http.bearer:
        yield Finding(
            ("http", "token"), f"is missing: whoever reaches {http.listen} could use cambwatch (or token_file)"
        )


def _check_destination(base: KeyPath, destination: DestinationEntry, *, proxy: Secret | None) -> Iterator[Finding]:
    url = destination.url or destination.url_file
    at = (*base, "url" if destination.url or not url else "url_file")
    if url is None:
        yield Finding(at, "is missing (or url_file)")
    elif destination.type != "apprise" and not destination.allow_private and (why := why_private(url.reveal())):
        yield Finding(at, f"{why}: needs allow_private: true")
    if destination.type != "webhook":
        yield from _check_chat(base, destination)
    if destination.type == "apprise":
        yield from _check_apprise(base, destination, proxy=proxy)
    if destination.secret and destination.secret_file:
        yield Finding((*base, "secret_file"), "give secret or secret_file, not both", at_key=True)
    sent: set[str] = set()
    for name in destination.headers:
        if (header := name.removesuffix("_file")) in sent:
            yield Finding((*base, "headers"), f"{header} is given twice", at_key=True)
        sent.add(header)
    yield from _check_body(base, destination)
    if destination.digest and destination.type == "webhook":
        yield Finding((*base, "digest"), "is for chats: a program gets every event by itself", at_key=True)
    yield from _check_retry((*base, "retry"), destination)


def _check_fallback(name: str, destination: DestinationEntry, parts: Sections, known: _KnownNames) -> Iterator[Finding]:
    at: KeyPath = ("destinations", name, "fallback")
    fallback = destination.fallback
    if fallback is None:
        return
    yield from known.destination(at, fallback)
    if fallback == name:
        yield Finding(at, "is this destination itself: name one that works when this one does not")
    entry = parts.destinations.get(fallback)
    template = entry.body_template if entry else None
    if entry and template and (why := why_no_alert(template, in_json=is_json(entry.headers))):
        key = "template" if entry.template else "template_file"
        yield Finding(("destinations", fallback, key), f"{why} (it is the fallback of {name})")


def _check_chat(base: KeyPath, destination: DestinationEntry) -> Iterator[Finding]:
    does = {"secret": "signs requests", "template": "makes the body"}
    for name, words in does.items():
        for key in (name, f"{name}_file"):
            if getattr(destination, key):
                yield Finding((*base, key), f"{words} of type webhook only, this is {destination.type}", at_key=True)


def _check_apprise(base: KeyPath, destination: DestinationEntry, *, proxy: Secret | None) -> Iterator[Finding]:
    if not apprise.is_installed():
        message = "apprise needs a library that is not installed: pip install cambwatch[apprise]"
        yield Finding((*base, "type"), message)
    if not destination.allow_private:
        yield Finding(
            (*base, "type"),
            "apprise needs allow_private: true: Apprise opens its own connections, so that cambwatch can neither see "
            "which addresses they lead to nor limit the size of an answer",
        )
    if destination.headers:
        yield Finding((*base, "headers"), "Apprise makes its own requests: headers cannot be added", at_key=True)
    if proxy:
        message = "apprise opens its own connections, which do not go through egress_proxy: leave out one of the two"
        yield Finding((*base, "type"), message)


def _check_body(base: KeyPath, destination: DestinationEntry) -> Iterator[Finding]:
    template = destination.body_template if destination.type == "webhook" else None
    if template is None:
        if any(name.removesuffix("_file") == "content-type" for name in destination.headers):
            message = "content-type is set by cambwatch itself, but for type webhook with a template"
            yield Finding((*base, "headers"), message, at_key=True)
    elif is_json(destination.headers) and (why := why_not_json(template)):
        yield Finding((*base, "template" if destination.template else "template_file"), why)


def _check_retry(base: KeyPath, destination: DestinationEntry) -> Iterator[Finding]:
    retry = destination.retry
    if retry.first > retry.max:
        yield Finding(
            base, f"first ({write_span(retry.first)}) is longer than max ({write_span(retry.max)})", at_key=True
        )
    last = retry.give_up_after or GIVE_UP_AFTER[destination.type]
    if retry.first > last:
        message = (
            f"first ({write_span(retry.first)}) is longer than give_up_after ({write_span(last)}): never tried again"
        )
        yield Finding(base, message, at_key=True)


def _check_route(base: KeyPath, route: RouteEntry, known: _KnownNames) -> Iterator[Finding]:
    when = route.when
    for name in sorted(when.model_fields_set):
        if not getattr(when, name):
            yield Finding((*base, "when", name), "is empty: leave it out where all are meant", at_key=True)
    if set(when.event) == {"group"}:
        for name in _only_of_tasks(when):
            yield Finding(
                (*base, "when", name), "a group has none: leave it out, or leave out event: group", at_key=True
            )
    for index, account in enumerate(when.account):
        yield from known.account((*base, "when", "account", index), account)
    if not route.notify:
        yield Finding((*base, "notify"), "names nobody", at_key=True)
    yield from known.destinations_of((*base, "notify"), route.notify)


def _only_of_tasks(when: When) -> list[str]:
    given: Mapping[str, object] = {
        "status": when.status,
        "kind": when.kind,
        "account": when.account,
        "label": when.label,
    }
    return [name for name, value in given.items() if value]


def _check_task(base: KeyPath, task: TaskEntry, known: _KnownNames) -> Iterator[Finding]:
    yield from known.destinations_of((*base, "notify"), task.notify or ())
    if "account" in task.model_fields_set or DEFAULT_ACCOUNT in known.accounts:
        yield from known.account((*base, "account"), task.account)
    elif known.accounts:
        yield Finding(
            (*base, "account"), f"is missing, camb has no api_key of its own{did_you_mean('', known.accounts)}"
        )
    if task.group_size is not None and task.group is None:
        yield Finding((*base, "group_size"), "needs a group", at_key=True)


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
