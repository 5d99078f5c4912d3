"""A group on two pods."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from ashchat_chat.rooms.assembly import Rooms
from ashchat_chat.rooms.groups import Appearance, Groups
from ashchat_chat.rooms.views import Role, Settings
from chat_world import Reader, World, draft, world

TAGS = ("ben_x", "cleo_x")
USERS = {"ana": "es", "ben": "en", "cleo": "de", "dan": "en"}


@dataclass
class Party:
    """A group of Ana's on two pods."""

    it: World
    groups: list[Groups]
    room: str

    @property
    def pods(self) -> list[Rooms]:
        return self.it.pods

    def members(self) -> dict[str, Role]:
        room = self.pods[0].directory.loaded(self.room)
        assert room is not None
        return {user: member.role for user, member in room.view.members.items()}

    async def joined(self, pod: int, user: str, protocol: int = 2) -> Reader:
        reader = Reader(user, USERS[user], protocol)
        await self.pods[pod].live.join(self.room, user, None)
        await self.pods[pod].live.attach(self.room, reader, 0)
        return reader

    async def say(self, pod: int, user: str, ref: str) -> None:
        await self.pods[pod].appending.send(self.room, user, draft(ref))


@asynccontextmanager
async def party(
    monkeypatch: pytest.MonkeyPatch,
    *,
    tags: tuple[str, ...] = TAGS,
    settings: Settings | None = None,
    members_max: int = 3,
) -> AsyncIterator[Party]:
    async with world(monkeypatch, pods=2) as it:
        it.store.reads |= USERS
        groups = [
            Groups(it.store, pod.directory, pod.appending, pod.cache, members_max=members_max)
            for pod in it.pods
        ]
        look = Appearance("Kitchen", "", "", settings or Settings())
        room = await groups[0].create("ana", look, tags, "1")
        yield Party(it, groups, room)
