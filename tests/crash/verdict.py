"""What a campaign has to find at its receivers: pure functions on what was promised, posted and killed."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

LAG_S = 0.3  # what a process sent before it was killed may be read that much later
THAWING_S = 1.0  # in which a process that was frozen has sent what it was about to send


class Fault(StrEnum):
    """The ways to break the promise."""

    LOST = "lost"  # a destination that is to hear never accepted the event
    SECOND_ID = "second id"  # one event, one destination, two webhook-ids
    SHARED_ID = "shared id"  # one webhook-id for two events, or for two destinations
    OTHER_BODY = "other body"  # a double that does not say the same
    AFTER_REMOVAL = "after removal"  # posted although a DELETE had been answered
    NEEDLESS_DOUBLE = "needless double"  # posted again after it was accepted, and nobody was killed in between
    WRONG_END = "wrong end"  # told of another end than Camb's
    UNWANTED = "unwanted"  # told to a destination that is not to hear
    STRANGE = "strange"  # of a task or a group that nobody ever named
    UNKNOWN_TASK = "unknown task"  # the daemon does not know what it had accepted
    DIED = "died"  # a process ended that nobody had killed, or the database is damaged


@dataclass(frozen=True, slots=True)
class Promise:
    """
    What holds for one event: *event* is `task ID` or `group NAME`, *end* what its posts have to say.

    *owed*: the registration was accepted, and nobody asked to remove the task.
    *removed_at_s* is when the DELETE was answered with 204.
    """

    event: str
    end: str
    hears: frozenset[str]
    owed: bool = True
    removed_at_s: float | None = None


@dataclass(frozen=True, slots=True)
class Post:
    """One request at a receiver; *accepted*: it was answered with 2xx, *digest* is that of its body."""

    at_s: float
    destination: str
    webhook_id: str
    event: str
    end: str
    digest: str
    accepted: bool


@dataclass(frozen=True, slots=True)
class Finding:
    """One broken promise."""

    fault: Fault
    what: str


def lost(promises: Iterable[Promise], posts: Iterable[Post]) -> list[Finding]:
    """What is owed and was not accepted where it is to be heard."""
    accepted = {(post.event, post.destination) for post in posts if post.accepted}
    return [
        Finding(Fault.LOST, f"{promise.event} at {destination}")
        for promise in promises
        if promise.owed
        for destination in sorted(promise.hears)
        if (promise.event, destination) not in accepted
    ]


def confused_ids(posts: Sequence[Post]) -> list[Finding]:
    """Each (event, destination) has one webhook-id, each webhook-id one of those, and one body."""
    ids: dict[tuple[str, str], set[str]] = defaultdict(set)
    meanings: dict[str, set[tuple[str, str]]] = defaultdict(set)
    bodies: dict[str, set[str]] = defaultdict(set)
    for post in posts:
        meaning = (post.event, post.destination)
        ids[meaning].add(post.webhook_id)
        meanings[post.webhook_id].add(meaning)
        bodies[post.webhook_id].add(post.digest)
    found = [
        Finding(Fault.SECOND_ID, f"{event} at {destination}: {', '.join(sorted(several))}")
        for (event, destination), several in ids.items()
        if len(several) > 1
    ]
    found += [
        Finding(Fault.SHARED_ID, f"{one}: {', '.join(' at '.join(meaning) for meaning in sorted(several))}")
        for one, several in meanings.items()
        if len(several) > 1
    ]
    # Two events under one id differ in their bodies as well: that is said once.
    found += [
        Finding(Fault.OTHER_BODY, one)
        for one, several in bodies.items()
        if len(several) > 1 and len(meanings[one]) == 1
    ]
    return found


def wrongly_told(
    promises: Mapping[str, Promise], posts: Iterable[Post], *, grace_s: float, thaws_s: Sequence[float]
) -> list[Finding]:
    """
    What should not have been posted at all, or not like that.

    A POST that was under way when the DELETE was answered cannot be called back: it may come up to *grace_s*
    later, or when who was frozen with it has thawed, at *thaws_s*.
    """
    found = []
    for post in posts:
        where = f"{post.event} at {post.destination}"
        promise = promises.get(post.event)
        if promise is None:
            found.append(Finding(Fault.STRANGE, where))
            continue
        if post.destination not in promise.hears:
            found.append(Finding(Fault.UNWANTED, where))
        if post.end != promise.end:
            found.append(Finding(Fault.WRONG_END, f"{where}: {post.end} instead of {promise.end}"))
        thawing = any(thaw_s <= post.at_s <= thaw_s + THAWING_S for thaw_s in thaws_s)
        if promise.removed_at_s is not None and post.at_s > promise.removed_at_s + grace_s and not thawing:
            late_s = post.at_s - promise.removed_at_s
            found.append(Finding(Fault.AFTER_REMOVAL, f"{where}: {late_s:.3f} s after it"))
    return found


def needless_doubles(posts: Iterable[Post], kills_s: Sequence[float]) -> list[Finding]:
    """What came again after it had been accepted, although nobody was killed since it first came."""
    by_id: dict[str, list[Post]] = defaultdict(list)
    for post in sorted(posts, key=lambda post: post.at_s):
        by_id[post.webhook_id].append(post)
    return [
        Finding(Fault.NEEDLESS_DOUBLE, f"{later.event} at {later.destination}: {later.webhook_id}")
        for several in by_id.values()
        for earlier, later in pairwise(several)
        if earlier.accepted and not any(earlier.at_s - LAG_S <= kill_s <= later.at_s for kill_s in kills_s)
    ]


def judge(
    promises: Sequence[Promise],
    posts: Sequence[Post],
    *,
    kills_s: Sequence[float],
    grace_s: float,
    thaws_s: Sequence[float] = (),
) -> list[Finding]:
    """Every broken promise; nothing where all were kept. *kills_s* are also the freezes, and their ends."""
    return [
        *lost(promises, posts),
        *confused_ids(posts),
        *wrongly_told({promise.event: promise for promise in promises}, posts, grace_s=grace_s, thaws_s=thaws_s),
        *needless_doubles(posts, kills_s),
    ]


def doubles(posts: Iterable[Post]) -> int:
    """How often something came again that its receiver had accepted before."""
    accepted: set[str] = set()
    count = 0
    for post in sorted(posts, key=lambda post: post.at_s):
        count += post.webhook_id in accepted
        if post.accepted:
            accepted.add(post.webhook_id)
    return count
