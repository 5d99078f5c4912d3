from hypothesis import given
from hypothesis import strategies as st

from ashchat_chat.wire.limits import Bucket, Rate


def test_a_burst_then_so_many_a_second() -> None:
    bucket = Bucket(Rate(2.0, 3), 100.0)
    assert [bucket.take(100.0) for _ in range(3)] == [0.0, 0.0, 0.0]
    assert bucket.take(100.0) == 0.5
    assert bucket.take(100.5) == 0.0
    assert not bucket.full(100.5)
    assert bucket.full(102.5)


@given(st.lists(st.floats(0, 0.3), min_size=1, max_size=200))
def test_never_more_than_the_rate_allows(pauses: list[float]) -> None:
    rate = Rate(5.0, 4)
    bucket = Bucket(rate, 0.0)
    now, taken = 0.0, 0
    for pause in pauses:
        now += pause
        taken += bucket.take(now) == 0.0
    assert taken <= rate.burst + now * rate.per_second + 1e-6


def test_a_clock_that_went_back_gives_nothing() -> None:
    bucket = Bucket(Rate(1.0, 1), 10.0)
    assert bucket.take(10.0) == 0.0
    assert bucket.take(5.0) > 0.0
