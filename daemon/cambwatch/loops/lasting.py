"""Whether something has changed for good, or only for a moment."""


class DebouncedCondition:
    """
    A condition that counts as changed once it has been otherwise for *debounce_s* seconds, wherever it was looked at.

    False at the start. Time is an argument, in seconds of a clock that only grows.
    """

    def __init__(self, debounce_s: float) -> None:
        self.active = False
        """How it counts as standing."""
        self.since_s: float | None = None
        """Since when it has been otherwise; None: it is not."""
        self._debounce_s = debounce_s

    def update(self, found: bool, now_s: float) -> bool:  # noqa: FBT001 - what is found is the subject
        """Take in how it was *found* to be; True where it counts as changed with that."""
        if found == self.active:
            self.since_s = None
        elif self.since_s is None:
            self.since_s = now_s
        elif now_s - self.since_s >= self._debounce_s:
            self.active, self.since_s = found, None
            return True
        return False

    @property
    def next_check_s(self) -> float | None:
        """When a look is worth it even where nothing else happens; None: at no time."""
        return None if self.since_s is None else self.since_s + self._debounce_s
