"""
Apprise: one message to one of its hundred services, one attempt to tell of.

Facts from the source of Apprise 2.2. It opens its own connections, mostly by `requests`:
proxy variables of the environment and .netrc count, an answer is read whole whatever its
size, and every address is dialled. Redirects can be switched off, and are. Its timeouts
(`cto`, `rto` in the URL) are for dialling and for each read, so that a receiver which
trickles can hold a call for ever; that is why a call has a thread of its own here, which
is left alone when its time is up.

The library is imported when a destination needs it, not before: it takes 36 MB with its
services.
"""

import asyncio
import json
import logging
import re
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Self

from cambwatch.core.formats import Message
from cambwatch.core.model import Attempt, Outcome
from cambwatch.core.routing import Destination
from cambwatch.core.service_urls import credentials
from cambwatch.core.text import one_line

if TYPE_CHECKING:
    from apprise import NotifyBase

EXCERPT = 1000  # characters that are kept of what Apprise says
SHORTEST_CREDENTIAL = 4  # characters; a shorter one would be found in half of all words

_ANY_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S*")
_CallResult = tuple[Outcome, str | None]


def is_installed() -> bool:
    """Whether the library is there; it is not imported."""
    return find_spec("apprise") is not None


def unusable_url_reason(url: str) -> str | None:
    """What is wrong with *url* as that of a destination, in words that hold nothing of it; None: it can be used."""
    service = _service(url)
    if service is None:
        return (
            "Apprise does not take this URL: compare it with what Apprise's documentation says of the service, "
            "and whether that needs a further library"
        )
    if service.redirects:
        return "redirect=yes: redirects are not followed, leave it out"
    if not service.verify_certificate:
        return "verify=no: certificates are always verified, leave it out"
    if service.retry:
        return "retry=...: cambwatch tries again by itself, see retry of the destination; leave it out"
    if service.optional:
        return "optional=yes: a message that was not taken would pass for delivered, leave it out"
    return None


class AppriseSender:
    """
    Posts to those of *destinations* that have the type apprise; use as a context manager.

    For each at most so many threads as its concurrency, those that hang counted: when
    all of them do, its attempts fail, and nobody else's. The process ends without them.
    """

    def __init__(self, destinations: Mapping[str, Destination]) -> None:
        self._destinations = {name: one for name, one in destinations.items() if one.type == "apprise"}
        self._threads: dict[str, asyncio.Semaphore] = {}

    async def __aenter__(self) -> Self:
        for name, destination in self._destinations.items():
            self._threads[name] = asyncio.Semaphore(destination.concurrency)
            _service(destination.url.reveal())  # loads the library before there is work that would wait for it
        return self

    async def __aexit__(self, *_: object) -> None:
        """Threads that hang are left to end with the process."""

    async def post(self, destination: Destination, message: Message, *, number: int) -> Attempt:
        """
        Make attempt *number*, in at most the destination's timeout.

        ACCEPTED_UNVERIFIED where Apprise says True: then the service has answered with
        what its plugin takes for a success, or the bytes went to where nobody answers
        (mail, syslog). TRANSIENT where it says False, because it does not say whether
        another try would do. After a timeout the call may still go through. Never raises
        for anything that Apprise, the receiver or the network does.
        """
        started = time.perf_counter()
        threads = self._threads[destination.name]
        calling = False
        try:
            async with asyncio.timeout(destination.timeout.total_seconds()):
                await threads.acquire()
                calling = True
                outcome, detail = await _in_thread(partial(_call, destination, message), threads, destination.name)
        except TimeoutError:
            what = "Apprise did not come back" if calling else "earlier calls hang, and none of them ended"
            outcome, detail = Outcome.TRANSIENT, f"{what} within {destination.timeout.total_seconds():g} s"
        return Attempt(number, outcome, took_ms=round((time.perf_counter() - started) * 1000), detail=detail)


def _in_thread(call: Callable[[], _CallResult], threads: asyncio.Semaphore, name: str) -> "asyncio.Future[_CallResult]":
    """The answer of *call*, out of a thread that gives *threads* one back when it ends, however late."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[_CallResult] = loop.create_future()

    def finish(given: _CallResult) -> None:
        threads.release()
        if not answer.done():  # nobody waits any longer
            answer.set_result(given)

    def work() -> None:
        given = call()
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(finish, given)

    # No pool: its threads are waited for when the process ends.
    threading.Thread(target=work, name=f"apprise {name}", daemon=True).start()
    return answer


def _call(destination: Destination, message: Message) -> _CallResult:
    url = destination.url.reveal()
    try:
        service = _service(url)
        if service is None:
            return Outcome.POLICY, "the URL of this destination is not one that Apprise takes"
        words = json.loads(message.body)
        given = vars(service)  # what the URL says; what it does not is left to the class
        if "overflow_mode" not in given:
            service.overflow_mode = _library().OverflowMode(words["overflow"])
        for limit in ("socket_connect_timeout", "socket_read_timeout"):
            if limit not in given:
                setattr(service, limit, destination.timeout.total_seconds())
        notifier = _library().Apprise(service)
        # body_format: so that it is escaped for a service that takes HTML or Markdown.
        result = notifier.notify(
            body=words["body"], title=words["title"], notify_type=words["type"], body_format="text"
        )
        if result:
            return Outcome.ACCEPTED_UNVERIFIED, None
        said = "; ".join(dict.fromkeys(entry.message for entry in result.logs()))
        return Outcome.TRANSIENT, _without_credentials(said, url) or "Apprise says that it failed, and not why"
    except Exception as error:  # noqa: BLE001 - a hundred plugins; their text may show the URL
        return Outcome.TRANSIENT, f"Apprise failed ({type(error).__name__})"


def _service(url: str) -> "NotifyBase | None":
    """
    The service behind *url*, made anew for every call; None where Apprise does not take it. Dials nothing.

    One for all calls would not do: it keeps a connection's state without a lock, and
    pauses between two messages, which the lane's rate is for.
    """
    library = _library()
    # One call in this thread: no retries, no pool of threads, and no time limit, which needs one.
    asset = library.AppriseAsset(
        app_id="cambwatch",
        app_desc="cambwatch",
        http_redirects=False,
        async_mode=False,
        default_service_retry=0,
        service_timeout=0,
    )
    service: NotifyBase | None = library.Apprise.instantiate(url, asset=asset)
    return service


def _library() -> ModuleType:
    import apprise  # noqa: PLC0415 - see above

    # What Apprise logs is read where it is called. It has names of its own choosing, and URLs at level debug.
    for name in ("apprise", "urllib3"):
        logger = logging.getLogger(name)
        logger.propagate = False
        logger.setLevel(logging.WARNING)
    return apprise


def _without_credentials(words: str, url: str) -> str | None:
    """*words* in one line, without URLs and without the pieces of *url*."""
    credential_pattern = "|".join(re.escape(text) for text in credentials(url) if len(text) >= SHORTEST_CREDENTIAL)
    clean = _ANY_URL.sub("<url>", re.sub(credential_pattern, "<secret>", words))
    return one_line(clean, longest=EXCERPT)
