"""Whatever the fan-out does, events come out in order, each once, without a hole."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from ashchat_chat.rooms.sequence import Sequencer


@dataclass(frozen=True)
class Thing:
    rev: int


@given(st.lists(st.integers(1, 20), max_size=100), st.integers(0, 5))
def test_in_order_each_once_without_a_hole(revs: list[int], start: int) -> None:
    sequencer: Sequencer[Thing] = Sequencer(start)
    out = [ready.rev for rev in revs for ready in sequencer.offer(Thing(rev))]
    assert out == list(range(start + 1, start + 1 + len(out)))
    offered = set(revs)
    following = start + 1
    while following in offered:
        following += 1
    assert sequencer.delivered == following - 1
    assert sequencer.gap == any(rev >= following for rev in offered)


def test_a_gap_that_is_filled_lets_all_go() -> None:
    sequencer: Sequencer[Thing] = Sequencer(1)
    assert sequencer.offer(Thing(3)) == []
    assert sequencer.gap
    assert [one.rev for one in sequencer.offer(Thing(2))] == [2, 3]
    assert not sequencer.gap
