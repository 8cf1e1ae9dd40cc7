"""What every destination type makes of an event: one request, and how often its service takes one."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from cambwatch.core.events import Event
from cambwatch.core.model import Json
from cambwatch.core.routing import Destination, RateLimit

JSON_TYPE = "application/json"


@dataclass(frozen=True, slots=True)
class Message:
    """What one attempt posts; names of headers are in lower case."""

    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class Format(Protocol):
    """What a destination type knows: how to say it, and how often its service lets us."""

    @property
    def rate(self) -> RateLimit | None:
        """What the service allows, where the configuration says nothing; None is no limit."""

    def render(self, event: Event, destination: Destination, *, delivery_id: str, at: datetime) -> Message:
        """
        The request of an attempt made at *at*; never one that the service refuses for its form.

        Raises TemplateError where the destination has a template, and it fails on *event*.
        """

    def digest(self, events: Sequence[Event], destination: Destination, *, late: bool) -> tuple[Message, int] | None:
        """
        One message that tells of the first n of *events*, which are oldest first and not empty, and n itself.

        Each of the n with its summary, uncut, its instant in UTC and its first link; nothing
        of the others. n is as many as fit into one message that the service does not
        refuse for its form: at least 1, whatever the events hold, and at most
        digests.MOST_IN_DIGEST. *late*: they could not be told when they happened, and the
        message says so. None where the type has no digests: a program gets every event.
        """

    def plain(self, event: Event, destination: Destination) -> Message | None:
        """
        The same in words alone, for one more attempt where the service has refused the form of render().

        None where there is no simpler form: the answer was meant for the content.
        """


def compact_json(document: Json) -> bytes:
    """*document* as JSON in UTF-8; a lone surrogate, for which UTF-8 has no bytes, becomes a question mark."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8", "replace")


def headers_for(destination: Destination) -> dict[str, str]:
    """The JSON content type and the destination's own headers, which may name another one."""
    own = {name.lower(): value.reveal() for name, value in destination.headers.items()}
    return {"content-type": JSON_TYPE} | own
