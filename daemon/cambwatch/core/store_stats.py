"""What is counted when somebody asks, not as it happens: rows of the database, and bytes of its file system."""

from collections.abc import Mapping
from dataclasses import dataclass

from cambwatch.core.model import Backlog, Status


@dataclass(frozen=True, slots=True)
class StoreStats:
    """How many tasks have each status (one that none has may be missing), and what waits for each destination."""

    tasks: Mapping[Status, int]
    backlogs: Mapping[str, Backlog]


@dataclass(frozen=True, slots=True)
class DiskSpace:
    """In bytes: what the database takes, and of its file system the size and what is left for us."""

    database: int
    size: int
    free: int
