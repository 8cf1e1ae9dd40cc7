"""What a campaign needs of the processes that it kills, whatever store they share."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self

from counting_receivers import NODE_HEADER
from killing import Aim, Moment
from load import DESTINATIONS, ROUTES
from node import Node

SECRET = "whsec_Y3Jhc2gtY2FtcGFpZ24tc2VjcmV0LW9mLTMyLWJ5dGVzIQ=="


class Deployment(Protocol):
    """One or more nodes on one store; used as a block that ends with none of them running."""

    nodes: Sequence[Node]
    moments: Mapping[Moment, int]
    """Those of the store, with their weights, besides the ones that are EVERYWHERE."""
    removal_grace_s: float
    """So long after a DELETE was answered a POST that was under way may still come."""

    frozen_share: float
    """Of the kills, how many are none: the node is frozen instead, for *frozen_s*, in which it loses what it holds."""
    frozen_s: float

    async def aim(self, aim: Aim) -> None:
        """Have the trap sprung at *aim*; moments that are told to the trap as they come need nothing here."""

    async def aim_no_more(self) -> None:
        """Return when nothing outside of this process can kill any more."""

    def autopsy(self) -> Mapping[str, Any]:
        """
        What the store shows of the moment of the kill that was just now; for the log.

        *within_commit*: a commit was begun, and is not complete.
        """

    async def examine(self) -> list[str]:
        """What is wrong with the store at the end."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *_: object) -> None: ...


def configuration(name: str, *, store: Mapping[str, Any], listen: str, camb: str, receivers: str) -> dict[str, Any]:
    """
    What the node *name* is configured with: it polls fast and repeats soon.

    Its name is its API key and a header of its posts, so that one sees from outside which node it is.
    """

    def hook(path: str) -> dict[str, Any]:
        return {
            "type": "webhook",
            "url": f"{receivers}/{path}",
            "allow_private": True,
            "secret": SECRET,
            "headers": {NODE_HEADER: name},
            "timeout": "10s",
            "concurrency": 8,
            "retry": {"first": "100ms", "max": "500ms", "give_up_after": "6d"},
        }

    return {
        "camb": {"base_url": camb, "api_key": name, "requests_per_second": 1000, "timeout": "5s"},
        "polling": {"interval": "300ms", "min_interval": "100ms", "max_interval": "1s", "deadline": "7d"},
        "store": dict(store),
        "http": {"listen": listen},
        "destinations": {path: hook(path) for path in DESTINATIONS},
        "routes": [dict(route) for route in ROUTES],
        "log": {"level": "info", "format": "json"},
    }
