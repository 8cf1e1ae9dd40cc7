"""Limits concurrent requests after a rate limit."""


class ConcurrencyRamp:
    """
    Allows *full* concurrent requests; one after a rate limit, and one more with each success.

    Without it, the end of a pause would cause a burst, and the burst the next rate limit.
    TCP's slow start works the same way (RFC 5681, 3.1). Only the success of a request that was
    sent after the last rate limit counts. Other failures change nothing.
    """

    __slots__ = ("_full", "epoch", "limit")

    def __init__(self, full: int) -> None:
        self._full = full
        self.limit = full
        """The number of concurrent requests allowed now, from 1 to *full*."""
        self.epoch = 0
        """Pass the value at the time of sending a request to succeeded()."""

    def rate_limited(self) -> None:
        """Allow one request at a time."""
        self.limit = 1
        self.epoch += 1

    def succeeded(self, epoch: int) -> None:
        """A request that was sent in *epoch* succeeded: allow one more concurrent request."""
        if epoch == self.epoch:
            self.limit = min(self.limit + 1, self._full)
