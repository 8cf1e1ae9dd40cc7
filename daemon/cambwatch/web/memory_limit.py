"""How much memory callers may make us use: some that each always has, and some that they share."""


class MemoryLimit:
    """*reserved* connection has so many bytes for itself; beyond that all have *shared* bytes together."""

    def __init__(self, *, reserved: int, shared: int) -> None:
        self._each = reserved
        self._left = shared

    def resize(self, before: int, after: int) -> bool:
        """One has *after* bytes instead of *before*; False, and nothing changed, where that is too much."""
        more = max(after - self._each, 0) - max(before - self._each, 0)
        if more > self._left:
            return False
        self._left -= more
        return True


class MemoryReservation:
    """What one connection has of a room."""

    __slots__ = ("_limit", "_size")

    def __init__(self, limit: MemoryLimit) -> None:
        self._limit = limit
        self._size = 0

    def grow(self, size: int) -> bool:
        """Have so many bytes more; False, and none of them, where there is no room."""
        if not self._limit.resize(self._size, self._size + size):
            return False
        self._size += size
        return True

    def shrink(self, size: int | None = None) -> None:
        """Have so many bytes less, at least none; None: have none."""
        rest = 0 if size is None else max(self._size - size, 0)
        self._limit.resize(self._size, rest)
        self._size = rest
