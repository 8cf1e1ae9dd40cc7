"""From an event to the bytes that a kind of receiver takes: one file per destination type."""

from collections.abc import Mapping
from types import MappingProxyType

from cambwatch.core.formats import apprise, discord, google_chat, mattermost, slack, teams, webhook
from cambwatch.core.formats.digests import MOST_IN_DIGEST
from cambwatch.core.formats.message import Format, Message

__all__ = ["FORMATS", "MOST_IN_DIGEST", "Format", "Message"]

FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "webhook": webhook.FORMAT,
        "slack": slack.FORMAT,
        "discord": discord.FORMAT,
        "teams": teams.FORMAT,
        "google_chat": google_chat.FORMAT,
        "mattermost": mattermost.FORMAT,
        "apprise": apprise.FORMAT,
    }
)
