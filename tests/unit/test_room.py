"""What connections may make us hold, each for itself and all together."""

from hypothesis import given
from hypothesis import strategies as st

from cambwatch.web.limits import MemoryLimit, MemoryReservation

EACH, COMMON = 10, 100


def shares(count: int) -> list[MemoryReservation]:
    room = MemoryLimit(reserved=EACH, shared=COMMON)
    return [MemoryReservation(room) for _ in range(count)]


def test_each_has_some_for_itself_and_the_first_have_the_rest() -> None:
    first, second, third = shares(3)
    assert first.grow(EACH + COMMON - 1)
    assert not second.grow(EACH + 2)
    assert second.grow(EACH + 1)
    assert third.grow(EACH)
    assert not third.grow(1)


def test_what_is_given_back_others_can_have() -> None:
    """Also by one who takes up what it has for itself at once."""
    first, second = shares(2)
    assert first.grow(EACH + COMMON)
    first.shrink(30)
    assert second.grow(EACH + 30)
    assert not second.grow(1)
    first.shrink()
    assert second.grow(70)


moves = st.lists(st.tuples(st.integers(0, 4), st.integers(-200, 200)), max_size=60)


@given(moves)
def test_never_more_than_there_is_and_nothing_gets_lost(moves: list[tuple[int, int]]) -> None:
    """Whoever takes and gives back whatever, also more than they have."""
    some = shares(5)
    held = [0] * len(some)
    for index, size in moves:
        if size < 0:
            some[index].shrink(-size)
            held[index] = max(held[index] + size, 0)
        elif some[index].grow(size):
            held[index] += size
        assert sum(max(one - EACH, 0) for one in held) <= COMMON
    for one in some:
        one.shrink()
    assert some[0].grow(EACH + COMMON)
