"""When users were last online: stored to the minute, in few writes, and never of the invisible."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from ashchat_chat.rooms.ports import StoreUnavailableError
from ashchat_chat.users import last_seen as last_seen_module
from ashchat_chat.users.last_seen import LastSeen
from ashchat_chat.users.online import OnlineSocket
from online_world import AwayError, Shared

START = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)


@dataclass
class Store:
    """Stores the times, as `$max` does."""

    times: dict[str, datetime] = field(default_factory=dict)
    writes: list[int] = field(default_factory=list)
    away: bool = False

    async def raise_last_seen(self, times: Mapping[str, datetime]) -> None:
        if self.away:
            raise StoreUnavailableError
        self.writes.append(len(times))
        for user, at in times.items():
            self.times[user] = max(at, self.times.get(user, at))


@dataclass
class Clock:
    """Both clocks: that of the users and that of the process."""

    seconds: float = 0.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(last_seen_module, "monotonic", made.monotonic)
    return made


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def shared() -> Shared:
    return Shared()


@pytest.fixture
def last_seen(shared: Shared, store: Store, clock: Clock) -> LastSeen:
    return LastSeen(shared, store, away=(AwayError,), now=clock.now)


async def after(clock: Clock, last_seen: LastSeen, seconds: int) -> None:
    """Let time pass, as `run` does."""
    for _ in range(seconds):
        clock.seconds += last_seen_module.CHECK_SECONDS
        await last_seen.write(settled_by=clock.monotonic())


async def test_a_user_who_stays_away_is_stored_to_the_minute(
    last_seen: LastSeen, store: Store, clock: Clock
) -> None:
    clock.seconds = 75.5
    last_seen.left("ben", [OnlineSocket.new()])
    await after(clock, last_seen, 4)
    assert store.times == {}
    await after(clock, last_seen, 1)
    assert store.times == {"ben": START + timedelta(minutes=1)}


async def test_a_user_who_comes_and_goes_every_second_is_hardly_written(
    last_seen: LastSeen, store: Store, clock: Clock
) -> None:
    for _ in range(600):
        last_seen.returned("ben")
        last_seen.left("ben", [OnlineSocket.new()])
        await after(clock, last_seen, 1)
    assert store.writes == []
    await after(clock, last_seen, 10)
    assert store.times == {"ben": START + timedelta(minutes=9)}


async def test_a_user_is_written_at_most_once_a_minute(
    last_seen: LastSeen, store: Store, clock: Clock
) -> None:
    for _ in range(100):
        last_seen.left("ben", [OnlineSocket.new()])
        await after(clock, last_seen, 6)
    assert len(store.writes) == 10
    assert store.times == {"ben": START + timedelta(minutes=9)}


async def test_thousands_who_leave_together_are_one_read_and_one_write(
    last_seen: LastSeen, shared: Shared, store: Store, clock: Clock
) -> None:
    for number in range(5_000):
        last_seen.left(f"user-{number}", [OnlineSocket.new()])
    await after(clock, last_seen, 10)
    assert (store.writes, shared.calls) == ([5_000], 1)


async def test_a_user_who_is_online_on_another_pod_has_not_left(
    last_seen: LastSeen, shared: Shared, store: Store, clock: Clock
) -> None:
    shared.there["ben"] = {OnlineSocket.new()}
    last_seen.left("ben", [OnlineSocket.new()])
    await after(clock, last_seen, 10)
    shared.there.clear()
    await after(clock, last_seen, 10)
    # The other pod stores it.
    assert store.writes == []


async def test_neither_an_invisible_socket_nor_a_closed_one_that_is_still_listed_counts(
    last_seen: LastSeen, shared: Shared, store: Store, clock: Clock
) -> None:
    closed = OnlineSocket.new()
    shared.there["ben"] = {closed, OnlineSocket.new(visible=False)}
    last_seen.left("ben", [closed])
    await after(clock, last_seen, 10)
    assert store.times == {"ben": START}


async def test_nothing_is_lost_while_redis_or_the_store_does_not_answer(
    last_seen: LastSeen, shared: Shared, store: Store, clock: Clock
) -> None:
    shared.away = True
    last_seen.left("ben", [OnlineSocket.new()])
    await after(clock, last_seen, 60)
    shared.away, store.away = False, True
    await after(clock, last_seen, 60)
    assert store.times == {}
    store.away = False
    await after(clock, last_seen, 1)
    assert store.times == {"ben": START}


async def test_a_pod_that_ends_stores_everybody_who_has_left(
    last_seen: LastSeen, store: Store
) -> None:
    last_seen.left("ben", [OnlineSocket.new()])
    await last_seen.close()
    assert store.times == {"ben": START}
