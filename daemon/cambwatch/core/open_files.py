"""How many of the files that the process may have open are left for the clients of the intake."""

MOST_CONNECTIONS = 4096
FEWEST_CONNECTIONS = 16  # also where nothing is left: without them nobody could register a task
# For the database and its log, the log, what listens, the event loop, name lookups, and what is opened for a moment.
RESERVE = 64


def connection_limit(open_files: int, *, polls: int, posts: int) -> int:
    """
    How many connections of clients the intake may hold, where the process may have *open_files* open at once.

    *polls* and *posts* are how many requests to Camb and to receivers may be under way at
    once. They come first: what is left is for clients.
    """
    left = open_files - RESERVE - polls - posts
    return max(FEWEST_CONNECTIONS, min(left, MOST_CONNECTIONS))
