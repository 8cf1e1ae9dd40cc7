"""Nothing that is owed is lost, doubled or kept waiting, however reads and all else take turns."""

from datetime import timedelta

from books import NEVER, Book, Clock, chat, finish, step
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cambwatch.core.delivery.attempts import PendingDelivery
from cambwatch.core.formats import MOST_IN_DIGEST
from cambwatch.core.model import DeliveryState
from cambwatch.loops.delivery.window import Window

NOTHING = timedelta(0)
SECOND = timedelta(seconds=1)
DIGEST = timedelta(minutes=5)
SHORTEST_PAUSE = timedelta(milliseconds=1)  # of a lane that finds nothing to do
pauses = st.sampled_from([NOTHING, SECOND, timedelta(minutes=1), timedelta(minutes=6), timedelta(hours=1)])


class AWindow(RuleBasedStateMachine):
    """A window as its lane uses it: one read at a time, all else whenever it comes, taking included."""

    @initialize(gathers=st.booleans(), reads_late=st.booleans(), before=st.integers(0, 50))
    def begin(self, *, gathers: bool, reads_late: bool, before: int) -> None:
        self.clock = Clock()
        self.book = Book(reads_late=reads_late)
        self.window = Window(chat(digest=DIGEST if gathers else None), self.book, clock=self.clock)
        self.under_way: dict[str, None] = {}
        self.read_due = None
        for number in range(before):
            self.book.add(at=self.clock.at, attempts=number % 2)

    @rule(attempts=st.sampled_from([0, 0, 1]), pause=pauses, count=st.sampled_from([1, 1, 30]))
    def owe(self, attempts: int, pause: timedelta, count: int) -> None:
        """An event, or a wish for another try."""
        for _ in range(count):
            self.book.add(at=self.clock.at + (pause if attempts else NOTHING), attempts=attempts)
        self.window.wake()

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        """One that may be in memory, under way, just being read, or none of these."""
        pending = [one.id for one in self.book.pending()]
        if pending:
            cancelled = data.draw(st.sampled_from(pending))
            self.book.change(cancelled, state=DeliveryState.CANCELLED, next_attempt_at=None)
            self.window.discard([cancelled])

    @rule()
    def release(self) -> None:
        """The breaker has closed: what waits out a pause is due now."""
        for one in self.book.pending():
            if one.attempts and one.next_attempt_at > self.clock.at:
                self.book.change(one.id, next_attempt_at=self.clock.at)
        self.window.wake()

    @precondition(lambda self: self.read_due is None and self.window.wants_more)
    @rule(trouble=st.sampled_from([None, None, None, OSError("disk")]))
    def begin_look(self, trouble: OSError | None) -> None:
        self.book.trouble = trouble
        read_due = self.window.read_due(self.under_way)
        if step(read_due):
            self.read_due = read_due
        self.book.trouble = trouble if self.read_due else None

    @precondition(lambda self: self.read_due is not None)
    @rule()
    def finish_look(self) -> None:
        read_due, self.read_due = self.read_due, None
        try:
            finish(read_due)
        except OSError:
            self.window.wake()  # as the lane does

    @precondition(lambda self: self.window.ready)
    @rule(most=st.sampled_from([0, 0, 1, MOST_IN_DIGEST - 1]), kept=st.integers(0, MOST_IN_DIGEST))
    def take(self, most: int, kept: int) -> None:
        """One, or as many as fit into a message: *kept* of them, the others are the next."""
        first = self.window.take()
        others = self.window.take_matching(lambda _: True, most)
        self.window.put_back(others[kept:])
        for one in [first, *others[:kept]]:
            self.post(one)

    def post(self, one: PendingDelivery) -> None:
        delivery, event = one
        assert event.task_id == delivery.id
        assert delivery.id not in self.under_way
        written = self.book.owed[delivery.id]
        assert written.state is DeliveryState.PENDING
        assert written.attempts == delivery.attempts
        assert (written.next_attempt_at or NEVER) <= self.clock.at
        self.under_way[delivery.id] = None

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), pause=st.none() | pauses)
    def end(self, data: st.DataObject, pause: timedelta | None) -> None:
        """Written down, and then no longer under way; one that was cancelled meanwhile stays so."""
        ended = data.draw(st.sampled_from(list(self.under_way)))
        before = self.book.owed[ended]
        if pause is None:
            if before.state is DeliveryState.PENDING:
                self.book.change(ended, state=DeliveryState.DELIVERED, next_attempt_at=None)
        else:
            at = self.clock.at + pause
            if before.state is DeliveryState.PENDING:
                self.book.change(ended, attempts=before.attempts + 1, next_attempt_at=at)
            self.window.note_due_at(at)
        del self.under_way[ended]

    @rule(span=pauses)
    def wait(self, span: timedelta) -> None:
        self.clock.forward(span)

    @invariant()
    def only_a_few_are_in_memory(self) -> None:
        if hasattr(self, "window"):
            assert len(self.window._fresh) <= 2 * MOST_IN_DIGEST
            assert len(self.window._repeated) <= 2 * MOST_IN_DIGEST

    def teardown(self) -> None:
        """A lane that does nothing but wait for what the window says posts all that is owed, and none too late."""
        if not hasattr(self, "window"):
            return
        if self.read_due is not None:
            self.finish_look()
        rounds = 3 * len(self.book.owed) + 10
        while self.book.pending():
            rounds -= 1
            assert rounds, "it goes round in a circle"
            if self.window.wants_more:
                finish(self.window.read_due(self.under_way))
            if self.window.ready:
                self.post(self.window.take())
            elif self.under_way:
                delivered = next(iter(self.under_way))
                if self.book.owed[delivered].state is DeliveryState.PENDING:
                    self.book.change(delivered, state=DeliveryState.DELIVERED, next_attempt_at=None)
                del self.under_way[delivered]
            else:
                late = self.clock.at - (DIGEST if self.window._destination.digest else NOTHING)
                assert all(one.next_attempt_at > late for one in self.book.pending()), "it is kept waiting"
                assert all(one.next_attempt_at > self.clock.at for one in self.book.pending() if one.attempts)
                assert self.window.wait_s is not None, "it is lost"
                self.clock.forward(max(timedelta(seconds=self.window.wait_s), SHORTEST_PAUSE))


TestAWindow = AWindow.TestCase
TestAWindow.settings = settings(max_examples=150, stateful_step_count=30)
