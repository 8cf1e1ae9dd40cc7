"""URLs of the services that people use as destinations: mistakes in them, and which parts are secret."""

import re
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from cambwatch.core.camb.kinds import KINDS
from cambwatch.core.names import ValueMistake, find_value_mistake

CAMB = "https://client.camb.ai/apis"


class _ServiceUrls(NamedTuple):
    """
    A chat service whose webhook URLs have one of *hosts* and a path that matches *path*.

    `*.` in *hosts* matches one or more labels. *usual* shows the form of a URL in messages.
    """

    name: str
    hosts: tuple[str, ...]
    path: str
    usual: str


_DISCORD = tuple(f"{build}{name}" for name in ("discord.com", "discordapp.com") for build in ("", "canary.", "ptb."))
_CONNECTORS = ("*.webhook.office.com", "outlook.office.com")
_WORKFLOWS = ("*.logic.azure.com", "*.logic.azure.us", "*.api.powerplatform.com")

# By the type of the destination.
SERVICE_URLS = {
    "slack": _ServiceUrls(
        "Slack",
        ("hooks.slack.com", "hooks.slack-gov.com"),
        r"/(services|triggers|workflows)/.+",
        "https://hooks.slack.com/services/...",
    ),
    "discord": _ServiceUrls(
        "Discord", _DISCORD, r"/api/(v[0-9]+/)?webhooks/[^/]+/.+", "https://discord.com/api/webhooks/..."
    ),
    "google_chat": _ServiceUrls(
        "Google Chat",
        ("chat.googleapis.com",),
        r"/v1/spaces/[^/]+/messages",
        "https://chat.googleapis.com/v1/spaces/.../messages?...",
    ),
    "teams": _ServiceUrls(
        "Microsoft Teams",
        (*_WORKFLOWS, *_CONNECTORS),
        r"/.+",
        "the URL that the workflow shows, at logic.azure.com or api.powerplatform.com",
    ),
}

# (hosts, path, warning) for URLs of the service itself that will not work.
_SPECIAL = (
    (
        SERVICE_URLS["slack"].hosts,
        r"/(triggers|workflows)/.*",
        (
            "starts a Slack workflow: it expects its own variables, and cambwatch cannot verify its answer; "
            "use an incoming webhook (https://hooks.slack.com/services/...), or type: webhook with a template for them"
        ),
    ),
    (
        _DISCORD,
        r".*/slack/?",
        "ends with /slack, where Discord expects Slack's format: remove /slack",
    ),
    (_DISCORD, r".*/github/?", "ends with /github, where Discord expects GitHub's format: remove /github"),
    (
        _CONNECTORS,
        r".*",
        (
            "is an Office 365 connector, which Microsoft has retired: create a workflow in Teams "
            '("Send webhook alerts to a channel") and use its URL'
        ),
    ),
)
_UNFILLED = frozenset({ValueMistake.TEMPLATE, ValueMistake.EXAMPLE, ValueMistake.CUT, ValueMistake.NOTHING})

# The last path segment of a URL copied from an example request.
_ENDPOINTS = frozenset(kind.status_path.partition("/{")[0].strip("/").rpartition("/")[2] for kind in KINDS.values()) | {
    "tts-stream",
    "list-voices",
    "create-custom-voice",
    "source-languages",
    "target-languages",
}


def camb_url_warning(url: str) -> str | None:
    """
    Why *url*, an http or https URL, is probably not a base URL of Camb's API; None if it may be one.

    A gateway or the simulator may use any host and path.
    """
    parts = urlsplit(url)
    host, path = _host(parts), parts.path.rstrip("/")
    before, _, last = path.rpartition("/")
    ours = host == "camb.ai" or host.endswith(".camb.ai")
    if last in _ENDPOINTS and (ours or "/apis" in before):
        return f"ends with /{last}, which cambwatch adds itself: remove it"
    if not ours:
        return None
    if host != "client.camb.ai":
        return f"is not the base URL of Camb's API: did you mean {CAMB}?"
    if path != "/apis" or not _usual_port(parts):
        return f"is not the base URL of Camb's API, so Camb would answer 404 for every task: did you mean {CAMB}?"
    return None


def destination_url_warning(kind: str, url: str, *, own_body: bool) -> str | None:
    """
    Why *url*, an http or https URL, is probably wrong for a destination of type *kind*; None if it may be right.

    *own_body*: the operator's template makes the body, which may be in the format of a chat.
    """
    parts = urlsplit(url)
    owner = next(
        (name for name, service in SERVICE_URLS.items() if _usual_port(parts) and _at(parts, service.hosts)), None
    )
    if owner != kind and owner is not None:
        return None if own_body else f"is a {SERVICE_URLS[owner].name} URL: did you mean type: {owner}?"
    service = SERVICE_URLS.get(kind)
    if service is None:
        return None
    if owner is None:
        return (
            f"is not a {service.name} URL ({service.usual}): cambwatch cannot verify the answers of another server; "
            "use the type of that service, or type: webhook for a program"
        )
    for hosts, path, why in _SPECIAL:
        if _at(parts, hosts) and re.fullmatch(path, parts.path):
            return why
    if not re.fullmatch(service.path, parts.path):
        return f"does not have the path of a {service.name} incoming webhook ({service.usual})"
    if any(find_value_mistake(step) in _UNFILLED for step in parts.path.split("/") if step):
        return f"contains a placeholder from an example: copy the whole URL that {service.name} shows"
    return None


def _host(parts: SplitResult) -> str:
    return (parts.hostname or "").rstrip(".")


def _usual_port(parts: SplitResult) -> bool:
    return parts.port in {None, 443}


def _at(parts: SplitResult, patterns: tuple[str, ...]) -> bool:
    host = _host(parts)
    return any(host.endswith(one[1:]) and host != one[2:] if one.startswith("*.") else host == one for one in patterns)


_PARTS = re.compile(r"(?P<scheme>[^:/?#]*)://(?P<authority>[^/?#]*)(?P<path>[^?]*)\??(?P<query>.*)", re.DOTALL)
_DIGITS_AND_DOTS = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3}){3}|\[[0-9a-fA-F:.]+\]")
# As people write names; a token between dots has capitals, digits at its end, or a length of its own.
_NAME = re.compile(r"([a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?\.)+[a-z]{2,24}|localhost")
# What many URLs say: to hide it would cut holes into every other text.
_PLAIN_WORD = re.compile(r"(?=.{1,24}\Z)[a-z]+([-_.][a-z]+)*")
_OPTIONS = frozenset({"https", "http", "POST", "PUT", "markdown"})


def public_host(url: str) -> str | None:
    """The host that *url* names, in lower case; None where there is a token in its place, as in `tgram://token/chat`."""
    found = _PARTS.fullmatch(url)
    if found is None:
        return None
    host = _split_port(found["authority"].rpartition("@")[2])[0].lower()
    written_so = host in found["authority"]  # capitals are of a token
    return host if written_so and (_DIGITS_AND_DOTS.fullmatch(host) or _NAME.fullmatch(host)) else None


def masked_url(url: str) -> str:
    """*url* for people: its service and, where that is no secret, its host."""
    return f"{url.partition('://')[0]}://{public_host(url) or ''}/..."


def credentials(url: str) -> tuple[str, ...]:
    """
    What of *url* must not be seen by itself, longest first; services take it apart and build other URLs of the pieces.

    User and password, path, query and every piece of them, also percent-decoded. Not
    the host where that is one, nor what is one plain word, as most topics and channels
    are; but a password always.
    """
    found = _PARTS.fullmatch(url)
    if found is None:
        return (url,)
    texts = {url, url.partition("://")[2]} | {text for text in _pieces(found, public_host(url)) if not _plain(text)}
    texts.add(found["authority"].rpartition("@")[0].partition(":")[2])  # a password, whatever word it is
    texts |= {unquote(text) for text in texts}
    return tuple(sorted(filter(None, texts), key=lambda text: (-len(text), text)))


def _pieces(found: re.Match[str], host: str | None) -> Iterator[str]:
    userinfo, _, server = found["authority"].rpartition("@")
    yield userinfo
    yield from userinfo.split(":")
    if host is None:
        yield server
        yield from _split_port(server)
        yield from server.split(":")
    yield found["path"].strip("/")
    yield from re.split("[/,#]", found["path"])
    yield found["query"]
    for pair in found["query"].split("&"):
        yield pair.partition("=")[2]


def _split_port(server: str) -> tuple[str, str]:
    host, colon, port = server.rpartition(":")
    return (host, port) if colon and (not port or port.isdigit()) and not host.isdigit() else (server, "")


def _plain(text: str) -> bool:
    return text in _OPTIONS or any(form.fullmatch(text) for form in (_PLAIN_WORD, _NAME, _DIGITS_AND_DOTS))
