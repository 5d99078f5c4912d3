"""Presence is published to contacts only, on every pod, with expiry."""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ashchat_chat.rooms.ports import Availability, Push
from ashchat_chat.users import presence as presence_module
from ashchat_chat.users.online import OnlineSocket
from ashchat_chat.users.presence import Presence, TooManySocketsError
from ashchat_e2e.frame_checker import problem_of_push
from chat_world import eventually
from online_world import AwayError, Shared


@dataclass
class Rooms:
    """One room of two, with a socket here."""

    told: list[tuple[str, str]] = field(default_factory=list)
    availabilities: list[Availability] = field(default_factory=list)

    def people(self) -> set[str]:
        return {"ana", "ben"}

    def rooms_of(self, user: str) -> frozenset[str]:
        return frozenset({"room"} if user in self.people() else ())

    def report_availability(self, _room: str, who: Availability) -> None:
        self.availabilities.append(who)
        self.told.append((who.user, who.payload(1)["status"]))


@dataclass(eq=False)
class Lobbyist:
    """A socket in the lobby; keeps what Phoenix's class Presence keeps (syncState, syncDiff)."""

    user: str = "eve"
    language: str = "en"
    protocol: int = 1
    gone: bool = False
    state: dict[str, list[Any]] | None = None
    diffs: int = 0

    def send(self, push: Push) -> bool:
        frame = [None, None, push.topic, push.event, push.payload]
        assert not problem_of_push(frame, self.protocol)
        if push.event == "presence_state":
            assert self.state is None, "a second state"
            self.state = {user: list(one["metas"]) for user, one in push.payload.items()}
            return True
        assert push.event == "presence_diff"
        assert self.state is not None, "the official class keeps diffs until there is a state"
        self.diffs += 1
        for user, one in push.payload["joins"].items():
            known = [meta["phx_ref"] for meta in self.state.get(user, [])]
            assert not any(meta["phx_ref"] in known for meta in one["metas"])
            self.state.setdefault(user, []).extend(one["metas"])
        for user, one in push.payload["leaves"].items():
            gone = [meta["phx_ref"] for meta in one["metas"]]
            before = [meta["phx_ref"] for meta in self.state[user]]
            assert set(gone) <= set(before), "a leave that matches no join"
            left = [meta for meta in self.state[user] if meta["phx_ref"] not in gone]
            self.state[user] = left
            if not left:
                del self.state[user]
        return True

    def fell_behind(self, since: int) -> None: ...

    async def drained(self) -> None: ...

    def end(self) -> None: ...

    def when_received(self, call: Callable[[], None]) -> None: ...

    def sees(self) -> dict[str, int]:
        """Return who is online, on how many devices."""
        return {user: len(metas) for user, metas in sorted((self.state or {}).items())}


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Shared:
    monkeypatch.setattr(presence_module, "GATHER_SECONDS", 0.001)
    return Shared()


class Departures:
    """What presence reports to LastSeen, whose rules have their own tests."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, int]] = []

    def left(self, user: str, sockets: Collection[OnlineSocket]) -> None:
        assert all(socket.visible for socket in sockets)
        self.seen.append((user, "left", len(sockets)))

    def returned(self, user: str) -> None:
        self.seen.append((user, "returned", 0))


@pytest.fixture
def left() -> Departures:
    return Departures()


@pytest.fixture
def pods(shared: Shared, left: Any) -> list[tuple[Presence, Rooms]]:
    """Two pods that hear each other."""
    made: list[tuple[Presence, Rooms]] = []

    def publish(text: str) -> None:
        for one, _ in made:
            one.heard(text)

    for number in range(2):
        rooms: Any = Rooms()
        presence = Presence(shared, publish, rooms, left, pod=f"p{number}", away=(AwayError,))
        made.append((presence, rooms))
    return made


Pods = list[tuple[Presence, Rooms]]


async def settle() -> None:
    await asyncio.sleep(0.005)
    for _ in range(10):
        await asyncio.sleep(0)


def opened(presence: Presence, user: str, *, visible: bool = True) -> OnlineSocket:
    socket = OnlineSocket.new(visible=visible)
    presence.opened(user, socket)
    return socket


async def known(pods: Pods) -> None:
    """Let both pods know of both users, as a join of their room does."""
    for presence, _ in pods:
        for user in ("ana", "ben"):
            await online(presence, user)


async def online(presence: Presence, user: str) -> bool:
    return (await presence.availability({user: None}))[user].online


async def test_both_pods_report_coming_and_going(pods: Pods) -> None:
    (here, rooms), (_, others) = pods
    await known(pods)
    sockets = [opened(here, "ben") for _ in range(2)]
    await settle()
    here.closed("ben", sockets[0])
    await settle()
    assert rooms.told == others.told == [("ben", "online")]
    here.closed("ben", sockets[1])
    await settle()
    assert rooms.told == others.told == [("ben", "online"), ("ben", "offline")]


async def test_who_is_on_another_pod_still_is_not_gone(pods: Pods) -> None:
    (here, rooms), (there, _) = pods
    await known(pods)
    socket = opened(here, "ben")
    opened(there, "ben")
    await settle()
    here.closed("ben", socket)
    await settle()
    assert rooms.told == [("ben", "online")]
    assert await online(here, "ben")


async def test_the_official_class_sees_contacts_with_their_devices_and_no_strangers(
    pods: Pods,
) -> None:
    """Case B6: a state first, and leaves that name the reference of their join."""
    (here, _), (there, _) = pods
    phone = opened(there, "ben")
    await settle()
    eve = Lobbyist()
    await here.enter_lobby(eve, ["ben", "cleo"])
    assert eve.sees() == {"ben": 1}
    laptop = opened(here, "ben")
    cleo = opened(there, "cleo")
    opened(there, "stranger")
    await settle()
    assert eve.sees() == {"ben": 2, "cleo": 1}
    there.closed("ben", phone)
    await settle()
    assert eve.sees() == {"ben": 1, "cleo": 1}
    here.closed("ben", laptop)
    await settle()
    assert eve.sees() == {"cleo": 1}
    here.leave_lobby(eve)
    there.closed("cleo", cleo)
    await settle()
    assert eve.sees() == {"cleo": 1}


async def test_the_state_comes_first_even_if_it_is_empty(pods: Pods) -> None:
    (here, _), _ = pods
    eve = Lobbyist()
    await here.enter_lobby(eve, [])
    assert eve.state == {}


async def test_an_invisible_socket_is_counted_and_not_shown(shared: Shared, pods: Pods) -> None:
    (here, rooms), (there, _) = pods
    await known(pods)
    eve = Lobbyist()
    await there.enter_lobby(eve, ["ben"])
    socket = opened(here, "ben", visible=False)
    await settle()
    assert (eve.sees(), rooms.told, len(shared.there["ben"])) == ({}, [], 1)
    socket = here.show("ben", socket, visible=True)
    await settle()
    assert (eve.sees(), rooms.told) == ({"ben": 1}, [("ben", "online")])
    here.show("ben", socket, visible=False)
    await settle()
    assert (eve.sees(), rooms.told[1:]) == ({}, [("ben", "offline")])


async def test_a_thousand_contacts_that_come_and_go_at_once_are_a_few_frames(
    shared: Shared, pods: Pods
) -> None:
    (here, _), (there, _) = pods
    contacts = [f"user-{number}" for number in range(1_000)]
    eve = Lobbyist()
    shared.calls = 0
    await here.enter_lobby(eve, contacts)
    assert shared.calls == 1
    sockets = {user: opened(there, user) for user in contacts}
    await settle()
    for user in contacts[:500]:
        there.closed(user, sockets[user])
    await settle()
    assert len(eve.sees()) == 500
    assert eve.diffs <= 10


async def test_what_comes_and_goes_within_a_moment_is_not_sent(pods: Pods) -> None:
    (here, _), _ = pods
    eve = Lobbyist()
    await here.enter_lobby(eve, ["ben"])
    for _ in range(50):
        here.closed("ben", opened(here, "ben"))
    await settle()
    assert (eve.sees(), eve.diffs) == ({}, 0)


async def test_a_pod_that_died_takes_its_people_along(
    shared: Shared, pods: Pods, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence_module, "REFRESH_SECONDS", 0.005)
    (here, rooms), (there, _) = pods
    await known(pods)
    opened(there, "ben")
    await settle()
    shared.there.clear()  # it reported nothing for so long that it expired
    running = asyncio.create_task(here.run())
    await eventually(lambda: rooms.told[1:])
    running.cancel()
    assert rooms.told == [("ben", "online"), ("ben", "offline")]


async def test_what_was_published_and_lost_is_found_by_comparing(
    shared: Shared, pods: Pods, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence_module, "REFRESH_SECONDS", 0.005)
    (here, _), _ = pods
    eve = Lobbyist()
    await here.enter_lobby(eve, ["ben"])
    shared.there["ben"] = {OnlineSocket.new()}
    running = asyncio.create_task(here.run())
    await eventually(lambda: eve.sees() == {"ben": 1})
    running.cancel()


async def test_without_redis_the_own_users_are_known(shared: Shared, pods: Pods) -> None:
    here, _ = pods[0]
    shared.away = True
    opened(here, "ben")
    await settle()
    assert await online(here, "ben")
    assert not await online(here, "ana")
    await here.leave()


async def test_the_limit_of_sockets_holds_across_pods_and_concurrent_requests(
    shared: Shared, pods: Pods
) -> None:
    """Finding 10."""
    (here, _), (there, _) = pods
    answers = await asyncio.gather(
        *((here, there)[number % 2].admit("ana", 20) for number in range(300)),
        return_exceptions=True,
    )
    assert sum(isinstance(one, OnlineSocket) for one in answers) == 20
    assert sum(isinstance(one, TooManySocketsError) for one in answers) == 280
    shared.away = True
    assert await here.admit("ana", 20)


# Last seen


async def test_leaving_is_reported_once_the_last_visible_socket_here_is_closed(
    pods: Pods, left: Departures
) -> None:
    here, _ = pods[0]
    phone, laptop = opened(here, "ben"), opened(here, "ben")
    left.seen.clear()
    here.closed("ben", phone)
    assert ("ben", "left", 1) not in left.seen
    here.closed("ben", laptop)
    assert left.seen[-1] == ("ben", "left", 1)


async def test_an_invisible_socket_reports_neither_coming_nor_leaving(
    pods: Pods, left: Departures
) -> None:
    here, _ = pods[0]
    here.closed("ben", opened(here, "ben", visible=False))
    assert left.seen == []
    hidden = here.show("ben", opened(here, "ben"), visible=False)
    assert left.seen == [("ben", "returned", 0), ("ben", "left", 1)]
    here.closed("ben", hidden)
    assert len(left.seen) == 2


async def test_the_users_of_a_pod_that_died_left_when_it_is_noticed(
    shared: Shared, pods: Pods, left: Departures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence_module, "REFRESH_SECONDS", 0.005)
    (here, _), (there, _) = pods
    await known(pods)
    opened(there, "ben")
    await settle()
    shared.there.clear()
    left.seen.clear()
    running = asyncio.create_task(here.run())
    await eventually(lambda: left.seen)
    running.cancel()
    assert left.seen == [("ben", "left", 1)]


async def test_a_new_member_of_a_group_is_reported_to_those_who_have_joined_it(
    shared: Shared, pods: Pods, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence_module, "REFRESH_SECONDS", 0.005)
    here, rooms = pods[0]
    shared.there["ben"] = {OnlineSocket.new()}
    running = asyncio.create_task(here.run())
    await eventually(lambda: rooms.told)
    running.cancel()
    assert rooms.told == [("ben", "online")]


async def test_others_see_when_a_user_left_although_it_is_not_stored_yet(pods: Pods) -> None:
    (here, rooms), (there, others) = pods
    await known(pods)
    stored = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    assert (await there.availability({"ben": stored}))["ben"].payload(2) == {
        "user_id": "ben", "status": "offline", "last_seen_at": "2026-01-02T03:04:00.000Z",
    }  # fmt: skip
    here.closed("ben", opened(here, "ben"))
    await settle()
    for presence, told in ((here, rooms), (there, others)):
        (_, reported) = told.availabilities
        assert reported.last_seen_at is not None
        assert timedelta() < datetime.now(UTC) - reported.last_seen_at < timedelta(minutes=2)
        assert reported.last_seen_at.second == reported.last_seen_at.microsecond == 0
        assert (await presence.availability({"ben": stored}))["ben"] == reported
