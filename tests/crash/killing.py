"""The moments at which a process is killed, or frozen, and the trap that does it when the moment comes."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from types import MappingProxyType

from node import Node


class Moment(StrEnum):
    """Where a kill falls; all of them are seen from outside of the process."""

    AT_RANDOM = "at random"
    STARTING = "while it starts"
    REGISTRATION_SENT = "registration sent"
    REGISTRATION_ANSWERED = "registration answered"
    REMOVAL_SENT = "removal sent"
    REMOVAL_ANSWERED = "removal answered"
    POLL_RECEIVED = "poll received, not answered"
    POLL_ANSWERED = "poll answered"
    RESULT_RECEIVED = "result asked for, not answered"
    RESULT_ANSWERED = "result answered"
    POST_RECEIVED = "post received, not answered"
    POST_ANSWERED = "post answered"
    LOG_WRITTEN = "commit being written"  # SQLite's write-ahead log
    CHECKPOINT = "checkpoint being written"  # the log worked into SQLite's file
    CLAIM_SENT = "claim sent, not forwarded"  # from here on: messages between a node and PostgreSQL
    CLAIM_DONE = "claim done, answer withheld"
    CLAIM_ANSWERED = "claim answered"
    CHANGE_SENT = "change sent, not forwarded"
    CHANGE_DONE = "change done, answer withheld"
    CHANGE_ANSWERED = "change answered"
    COMMIT_SENT = "commit sent, not forwarded"
    COMMIT_DONE = "commit done, answer withheld"
    COMMIT_ANSWERED = "commit answered"


EVERYWHERE: Mapping[Moment, int] = MappingProxyType(
    {
        Moment.AT_RANDOM: 4,
        Moment.STARTING: 3,
        Moment.REGISTRATION_SENT: 2,
        Moment.REGISTRATION_ANSWERED: 4,
        Moment.REMOVAL_SENT: 1,
        Moment.REMOVAL_ANSWERED: 2,
        Moment.POLL_RECEIVED: 2,
        Moment.POLL_ANSWERED: 3,
        Moment.RESULT_RECEIVED: 1,
        Moment.RESULT_ANSWERED: 2,
        Moment.POST_RECEIVED: 3,
        Moment.POST_ANSWERED: 4,
    }
)
"""How often each moment is aimed at, relatively, whatever the store is."""

LINGERING = frozenset(
    {
        Moment.REGISTRATION_SENT,
        Moment.REMOVAL_SENT,
        Moment.POLL_ANSWERED,
        Moment.RESULT_ANSWERED,
        Moment.POST_ANSWERED,
        Moment.CLAIM_ANSWERED,
        Moment.CHANGE_ANSWERED,
        Moment.COMMIT_ANSWERED,
    }
)
"""
After these the process has work to do: half of the kills come a little later, in the midst of it.

Not after what it has answered itself: what was promised there has to hold at once.
"""

OFTEN = 6  # most moments come many times a second: the kill falls on one of the first six
RARE: Mapping[Moment, int] = MappingProxyType(
    {
        Moment.REGISTRATION_SENT: 3,
        Moment.REGISTRATION_ANSWERED: 3,
        Moment.REMOVAL_SENT: 1,
        Moment.REMOVAL_ANSWERED: 1,
        Moment.RESULT_RECEIVED: 3,
        Moment.RESULT_ANSWERED: 3,
    }
)
LONGEST_LINGER_S = 0.006  # a step from an answer to the end of its commit takes a few milliseconds
STARTING_S = 1.2  # about as long as a start takes
PATIENCE_S = 1.5  # a moment that does not come by then is given up, and the kill counts as one at random
LONG_PATIENCE_S: Mapping[Moment, float] = MappingProxyType({Moment.CHECKPOINT: 10.0})  # comes once in a thousand pages


@dataclass(frozen=True, slots=True)
class Aim:
    """
    The next kill: when *moment* comes for the *nth* time, and *linger_s* after it.

    It begins to count *pause_s* after all nodes are up, or all but the one that was killed
    last. For AT_RANDOM and STARTING, *pause_s* itself is the moment. *node* is the number of
    the one that is killed at random. With *freeze* it is not killed, but stopped until it has lost its lease.
    """

    moment: Moment
    nth: int
    pause_s: float
    linger_s: float
    node: int
    all_up: bool = True
    freeze: bool = False

    def strike(self, node: Node) -> None:
        """Do it to *node*, now."""
        if self.freeze:
            node.freeze()
        else:
            node.kill()


def aims(dice: Random, moments: Mapping[Moment, int], *, nodes: int, frozen_share: float = 0.0) -> Callable[[], Aim]:
    """Draws one aim after the other, of which *frozen_share* freeze."""
    words, weights = list(moments), list(moments.values())

    def draw() -> Aim:
        # Nothing of what came of earlier kills is asked, so that a seed gives the same aims again.
        (moment,) = dice.choices(words, weights)
        nth = dice.randint(1, RARE.get(moment, OFTEN))
        fraction, wait = dice.random(), dice.random()
        linger_s = LONGEST_LINGER_S * dice.random() * (dice.random() < 0.5)
        node = dice.randrange(nodes)
        pause_s = STARTING_S * fraction if moment is Moment.STARTING else 0.6 * fraction * wait
        all_up = wait < 0.5
        freeze = dice.random() < frozen_share
        return Aim(moment, nth, pause_s, linger_s if moment in LINGERING else 0.0, node, all_up, freeze)

    return draw


class Trap:
    """Kills a node the moment that it was set for comes; whoever sees moments tells it of each."""

    def __init__(self) -> None:
        self._aim: Aim | None = None
        self._left = 0
        self._sprung: asyncio.Future[Node] | None = None

    def set(self, aim: Aim) -> "asyncio.Future[Node]":
        """Wait for *aim* from now on; the future is done when a node was killed."""
        self._aim, self._left = aim, aim.nth
        self._sprung = asyncio.get_running_loop().create_future()
        return self._sprung

    def clear(self) -> None:
        """Wait for nothing any more."""
        self._aim = None
        self._sprung = None

    def reach(self, moment: Moment, node: Node | None) -> bool:
        """
        *node* has come to *moment*. Returns whether it was killed for that, at once; one that is frozen was not.

        Where something follows the moment in the process that reports it, it must look at
        the answer: a message that was not to be forwarded is to be dropped.
        """
        if self._aim is None or self._aim.moment is not moment or node is None or not node.alive:
            return False
        self._left -= 1
        if self._left > 0:
            return False
        aim, sprung = self._aim, self._sprung
        self._aim = None
        if aim.linger_s:
            asyncio.get_running_loop().call_later(aim.linger_s, self._spring, aim, node, sprung)
            return False
        self._spring(aim, node, sprung)
        return not aim.freeze

    def sprung_elsewhere(self, node: Node) -> None:
        """Another process has killed *node*, as it was told to."""
        aim, self._aim = self._aim, None
        if aim is not None:
            self._spring(aim, node, self._sprung)

    def _spring(self, aim: Aim, node: Node, sprung: "asyncio.Future[Node] | None") -> None:
        if sprung is None or sprung.done() or sprung is not self._sprung:
            return  # given up meanwhile
        aim.strike(node)
        sprung.set_result(node)
