"""How many client connections the limit on open files allows."""

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
