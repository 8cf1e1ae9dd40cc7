"""Reads and raises the limit on open files (setrlimit(2)), and divides it among polls, deliveries and clients."""

import resource
from contextlib import suppress

MOST_CONNECTIONS = 4096
FEWEST_CONNECTIONS = 16  # even if no descriptor is left: clients must be able to register tasks
# For the database and its journal, the log, listening sockets, the event loop, DNS, and short-lived files.
RESERVE = 64


def connection_limit(open_files: int, *, polls: int, posts: int) -> int:
    """
    The limit on client connections for a process that may have *open_files* files open.

    *polls* and *posts* are the highest numbers of concurrent requests to Camb and to receivers.
    Those have priority; clients get the rest.
    """
    left = open_files - RESERVE - polls - posts
    return max(FEWEST_CONNECTIONS, min(left, MOST_CONNECTIONS))


# More than client connections, polls and posts ever need. Never higher, even if the hard limit is, because some
# libraries iterate over all descriptors up to the soft limit.
MAX_OPEN_FILES = 65_536


def raise_limit() -> int:
    """
    Raise the soft limit of this process to its hard limit, at most to MAX_OPEN_FILES; returns the limit in effect.

    Login shells and service managers set a soft limit of 1,024 for programs that use select(2),
    which supports no more. The event loop uses epoll(7).
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        # A sandbox may forbid the call; then the old limit stays.
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return limit()


def limit() -> int:
    """How many files this process may have open at once; at most MAX_OPEN_FILES, even without a limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_OPEN_FILES if soft == resource.RLIM_INFINITY else min(soft, MAX_OPEN_FILES)
