"""Presence is published to contacts only, on every pod, with expiry; typing ends by itself."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest

from ashchat_chat.rooms.ports import Push
from ashchat_chat.users import presence as presence_module
from ashchat_chat.users.presence import Presence, Typing


class AwayError(Exception):
    """Redis does not answer."""


class Shared:
    """Where all pods say who is online."""

    def __init__(self) -> None:
        self.there: set[tuple[str, str]] = set()
        self.away = False

    def _ask(self) -> None:
        if self.away:
            raise AwayError

    async def mark_online(self, users: Iterable[str], pod: str) -> None:
        self._ask()
        self.there |= {(user, pod) for user in users}

    async def mark_offline(self, users: Iterable[str], pod: str) -> None:
        self._ask()
        self.there -= {(user, pod) for user in users}

    async def online(self, users: Iterable[str]) -> set[str]:
        self._ask()
        return {user for user, _ in self.there} & set(users)


@dataclass
class Rooms:
    """One room of two, with a socket here."""

    told: list[tuple[str, str]] = field(default_factory=list)
    typed: list[bool] = field(default_factory=list)

    def people(self) -> set[str]:
        return {"ana", "ben"}

    def rooms_of(self, user: str) -> frozenset[str]:
        return frozenset({"room"} if user in self.people() else ())

    def tell(self, _room: str, _event: str, payload: dict[str, str], *, but: str) -> None:
        self.told.append((but, payload["status"]))

    def typing(self, _room: str, _user: str, *, is_typing: bool) -> None:
        self.typed.append(is_typing)


@dataclass(eq=False)
class Lobbyist:
    """A socket in the lobby."""

    user: str = "eve"
    language: str = "en"
    protocol: int = 1
    gone: bool = False
    diffs: list[tuple[list[str], list[str]]] = field(default_factory=list)

    def send(self, push: Push) -> bool:
        assert (push.topic, push.event) == ("presence:lobby", "presence_diff")
        joins, leaves = push.payload["joins"], push.payload["leaves"]
        for meta in [*joins.values(), *leaves.values()]:
            assert set(meta["metas"][0]) == {"online_at", "phx_ref"}
        self.diffs.append((sorted(joins), sorted(leaves)))
        return True

    def fell_behind(self, since: int) -> None: ...

    async def drained(self) -> None: ...


@pytest.fixture
def shared() -> Shared:
    return Shared()


@pytest.fixture
def pods(shared: Shared) -> list[tuple[Presence, Rooms]]:
    """Two pods that hear each other."""
    made: list[tuple[Presence, Rooms]] = []

    def publish(text: str) -> None:
        for one, _ in made:
            one.heard(text)

    for number in range(2):
        rooms: Any = Rooms()
        made.append((Presence(shared, publish, rooms, pod=f"p{number}", away=(AwayError,)), rooms))
    return made


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_both_pods_tell_of_coming_and_going(pods: list[tuple[Presence, Rooms]]) -> None:
    (here, rooms), (_, others) = pods
    here.opened("ben")
    here.opened("ben")
    await settle()
    here.closed("ben")
    await settle()
    assert rooms.told == others.told == [("ben", "online")]
    here.closed("ben")
    await settle()
    assert rooms.told == others.told == [("ben", "online"), ("ben", "offline")]


async def test_who_is_on_another_pod_still_is_not_gone(pods: list[tuple[Presence, Rooms]]) -> None:
    (here, rooms), (there, _) = pods
    here.opened("ben")
    there.opened("ben")
    await settle()
    here.closed("ben")
    await settle()
    assert rooms.told == [("ben", "online")]
    assert await here.online("ben")


async def test_the_lobby_reports_contacts_only(pods: list[tuple[Presence, Rooms]]) -> None:
    (here, _), (there, _) = pods
    there.opened("ben")
    await settle()
    eve = Lobbyist()
    await here.enter_lobby(eve, {"ben", "cleo"})
    assert eve.diffs == [(["ben"], [])]
    there.opened("cleo")
    there.opened("stranger")
    await settle()
    there.closed("ben")
    await settle()
    assert eve.diffs[1:] == [(["cleo"], []), ([], ["ben"])]
    here.leave_lobby(eve)
    there.closed("cleo")
    await settle()
    assert len(eve.diffs) == 3


async def test_a_pod_that_died_takes_its_people_along(
    shared: Shared, pods: list[tuple[Presence, Rooms]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence_module, "REFRESH_SECONDS", 0.005)
    (here, rooms), (there, _) = pods
    there.opened("ben")
    await settle()
    shared.there.clear()  # it said nothing for so long that it expired
    running = asyncio.create_task(here.run())
    await asyncio.sleep(0.05)
    running.cancel()
    assert rooms.told == [("ben", "online"), ("ben", "offline")]


async def test_without_redis_the_own_people_are_known(
    shared: Shared, pods: list[tuple[Presence, Rooms]]
) -> None:
    here, rooms = pods[0]
    shared.away = True
    here.opened("ben")
    await settle()
    assert rooms.told == [("ben", "online")]
    assert await here.online("ben")
    assert not await here.online("ana")
    await here.leave()


async def test_typing_is_throttled_and_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence_module, "TYPING_EXPIRES_SECONDS", 0.02)
    rooms: Any = Rooms()
    typing = Typing(rooms)
    for _ in range(5):
        typing.said("room", "ana", is_typing=True)
    assert rooms.typed == [True]
    await asyncio.sleep(0.05)
    assert rooms.typed == [True, False]
    typing.said("room", "ana", is_typing=False)
    assert rooms.typed == [True, False]
    typing.said("room", "ana", is_typing=True)
    typing.said("room", "ana", is_typing=False)
    assert rooms.typed == [True, False, True, False]
