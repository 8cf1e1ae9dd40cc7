"""The endpoints about destinations: how each stands, and a real message to see whether it arrives."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from difflib import get_close_matches
from http import HTTPStatus
from typing import Protocol

from aiohttp import web

from cambwatch.core.model import Attempt, Backlog, Outcome
from cambwatch.core.routing import Destination
from cambwatch.web.api.deliveries import DestinationPage, DestinationStatus, destination_view, test_message_view
from cambwatch.web.api.tasks import json_answer
from cambwatch.web.problem_details import ProblemError


class BacklogSource(Protocol):
    """Where it is written down what waits."""

    async def backlogs(self) -> Mapping[str, Backlog]: ...


class DestinationEndpoints:
    """What can be asked about destinations."""

    def __init__(
        self,
        destinations: Mapping[str, Destination],
        backlogs: BacklogSource,
        *,
        workers: Mapping[str, DestinationStatus],
        send_test_message: Callable[[Destination], Awaitable[Attempt]],
        retry_now: Callable[[Iterable[str]], None],
    ) -> None:
        """
        *workers* has one for each of *destinations*; *send_test_message* sends a test message; *retry_now*:
        they take messages.
        """
        self._destinations = destinations
        self._backlogs = backlogs
        self._workers = workers
        self._send_test_message = send_test_message
        self._retry_now = retry_now

    async def page(self, _request: web.Request) -> web.StreamResponse:
        """All destinations, in the order of the configuration."""
        waiting = await self._backlogs.backlogs()
        return json_answer(
            DestinationPage(
                items=[
                    destination_view(destination, waiting.get(name), worker=self._workers[name])
                    for name, destination in self._destinations.items()
                ]
            )
        )

    async def test(self, request: web.Request) -> web.StreamResponse:
        """Send one message now, past everything that waits; answers what came of it."""
        name = request.match_info["name"]
        destination = self._destinations.get(name)
        if destination is None:
            close = get_close_matches(name[:64], self._destinations, n=1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            raise ProblemError(HTTPStatus.NOT_FOUND, f"there is no such destination in the configuration{hint}")
        attempt = await self._send_test_message(destination)
        if attempt.outcome in {Outcome.ACCEPTED, Outcome.ACCEPTED_UNVERIFIED}:
            self._retry_now([name])  # what waits for a breaker need not wait any longer to find out
        return json_answer(test_message_view(name, attempt))
