"""How many files the process may have open: setrlimit(2), RLIMIT_NOFILE."""

import resource
from contextlib import suppress

# Sockets and files together; more than the intake's connections, polls and posts ever need. Not the hard limit, however
# large it is, because some libraries go through all numbers up to the soft one.
ENOUGH = 65_536


def raise_limit() -> int:
    """
    Raise the soft limit of this process to its hard limit, at most to ENOUGH; returns the limit that holds.

    Login shells and service managers set a soft limit of 1,024 for programs that use
    select(2), which cannot go beyond; the event loop uses epoll(7).
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        # A sandbox may forbid the call; what is allowed then is what there was.
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return limit()


def limit() -> int:
    """How many files this process may have open at once; at most ENOUGH, also where there is no limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return ENOUGH if soft == resource.RLIM_INFINITY else min(soft, ENOUGH)
