"""How many requests may be under way at once after a rate limit."""


class ConcurrencyRamp:
    """
    *full* requests at once; after a rate limit one, and one more with each success.

    A pause that ends would else be followed by a burst, and that by the next rate limit.
    (Slow start of TCP: RFC 5681, 3.1.) A success counts only for a request that was sent
    since the last rate limit: those that were under way then say nothing about the time
    after the pause. Failures of other kinds change nothing.
    """

    __slots__ = ("_full", "epoch", "limit")

    def __init__(self, full: int) -> None:
        self._full = full
        self.limit = full
        """How many may be under way now, from 1 to *full*."""
        self.epoch = 0
        """To be remembered with each request that is sent, for succeeded()."""

    def rate_limited(self) -> None:
        """Let the next request go alone."""
        self.limit = 1
        self.epoch += 1

    def succeeded(self, epoch: int) -> None:
        """A request that was sent in *epoch* succeeded: let one more go at once."""
        if epoch == self.epoch:
            self.limit = min(self.limit + 1, self._full)
