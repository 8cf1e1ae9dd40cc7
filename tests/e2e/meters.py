"""Who counts what the loops tell."""

# ruff: noqa: ARG002 - the loops call it by the names of their Protocols


class Meter:
    """Keeps what it is told."""

    def __init__(self):
        self.attempts, self.polls, self.ends = [], [], []

    def attempted(self, destination, tried, *, posted, now):
        self.attempts.append((destination, [one.attempt.outcome for one in tried], posted))

    def polled(self, account, kind, report, lateness_s, took_s):
        self.polls.append((account, kind, report, lateness_s, took_s))

    def concluded(self, kind, status, detection_s):
        self.ends.append((kind, status, detection_s))
