"""Groups: who may change what. Every rule is asked of the room as it is at the commit."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from ashchat_chat.rooms.appending import Appender
from ashchat_chat.rooms.caching import RoomCache
from ashchat_chat.rooms.directory import RoomDirectory
from ashchat_chat.rooms.errors import (
    NoSuchRoomError,
    NoSuchUserError,
    NotNeededError,
    Reason,
    RefusedError,
)
from ashchat_chat.rooms.events import AnyEvent, MemberChange, Members, RoomChanged
from ashchat_chat.rooms.identifiers import placeholder
from ashchat_chat.rooms.ports import ConflictError, Profile
from ashchat_chat.rooms.views import Role, RoomView, Settings


class GroupStore(Protocol):
    """What groups need besides the log. Every method may raise StoreUnavailableError."""

    async def by_tags(self, tags: Sequence[str]) -> dict[str, Profile]:
        """Return the profiles with these tags, by tag."""
        ...

    async def buried(self, gone: Sequence[str]) -> bool:
        """Return whether the account of any of these placeholders was deleted."""
        ...

    async def prepare_members(self, room: str, users: Sequence[str]) -> None:
        """Make sure that each user has a document in a room; see CacheStore."""
        ...

    async def add_group(
        self, room: str, founding: Sequence[Mapping[str, Any]], at: datetime
    ) -> None:
        """Store a new group. Raises ConflictError: the room exists."""
        ...


@dataclass(frozen=True, slots=True)
class Appearance:
    """How a group looks, and its settings. A field that is absent does not change."""

    name: str | None = None
    picture: str | None = None
    description: str | None = None
    settings: Settings | None = None


class Groups:
    """Creates and changes groups."""

    def __init__(
        self,
        store: GroupStore,
        directory: RoomDirectory,
        appender: Appender,
        cache: RoomCache,
        *,
        members_max: int,
    ) -> None:
        self._store = store
        self._directory = directory
        self._appender = appender
        self._cache = cache
        self._members_max = members_max

    async def create(
        self, user: str, appearance: Appearance, tags: Sequence[str], client_id: str
    ) -> str:
        """Create a group that a user owns; return its id. Repeating it creates none.

        Raises:
            NoSuchUserError: no user has one of the tags.
            RefusedError: too many members.
            StoreUnavailableError: it may have been created; repeating it is safe.
        """
        others = [one for one in await self._users(tags) if one != user]
        self._check_count(1 + len(others))
        room_id = hashlib.sha256(f"{user} {client_id}".encode()).hexdigest()[:32]
        changes = [MemberChange(user=user, role=Role.OWNER)]
        changes += [MemberChange(user=one, role=Role.MEMBER) for one in others]
        look = {"kind": "room", "by": user, **_changed(appearance)}
        members = {"kind": "members", "by": user, "changes": [one.model_dump() for one in changes]}
        await self._store.prepare_members(room_id, [user, *others])
        try:
            await self._store.add_group(room_id, [look, members], datetime.now(UTC))
        except ConflictError:
            await self._directory.get_for(user, room_id)
            return room_id
        await self._directory.get(room_id)
        await self._cache.flush([room_id])
        await self._without_deleted(room_id, [user, *others])
        return room_id

    async def change(self, room_id: str, user: str, appearance: Appearance) -> None:
        """Change how a group looks, or its settings.

        Raises:
            NoSuchRoomError, RefusedError, StoreUnavailableError
        """

        def changed(view: RoomView) -> RoomChanged:
            _managed_group(view, user)
            return RoomChanged(
                room=room_id, rev=view.rev + 1, at=self._now(), by=user, **_changed(appearance)
            )

        await self._appender.append(room_id, changed)

    async def add(self, room_id: str, user: str, tags: Sequence[str]) -> None:
        """Make users members; those who are stay as they are.

        Raises:
            NoSuchUserError, NoSuchRoomError, RefusedError, StoreUnavailableError
        """
        users = await self._users(tags)
        await self._directory.get_for(user, room_id)
        await self._store.prepare_members(room_id, users)

        def added(view: RoomView) -> list[MemberChange]:
            _managed_group(view, user)
            new = [one for one in users if one not in view.members]
            self._check_count(len(view.members) + len(new))
            return [MemberChange(user=one, role=Role.MEMBER) for one in new]

        await self._change_members(room_id, user, added)
        await self._without_deleted(room_id, users)

    async def remove(self, room_id: str, user: str, other: str) -> None:
        """Remove a member, or leave. The owner leaves last, or transfers ownership before.

        Raises:
            NoSuchRoomError, RefusedError, StoreUnavailableError
        """

        def removed(view: RoomView) -> list[MemberChange]:
            role = _group_role(view, user)
            theirs = _role_of(view, other)
            if user == other:
                if role is Role.OWNER and len(view.members) > 1:
                    raise RefusedError(Reason.OWNER_MUST_TRANSFER)
            elif not (role is Role.OWNER or (role is Role.ADMIN and theirs is Role.MEMBER)):
                raise RefusedError(Reason.NOT_ALLOWED)
            return [MemberChange(user=other, role=None)]

        await self._change_members(room_id, user, removed)

    async def set_role(self, room_id: str, user: str, other: str, role: Role) -> None:
        """Give a member a role. The owner alone may; a new owner makes the previous one an admin.

        Raises:
            NoSuchRoomError, RefusedError, StoreUnavailableError
        """

        def given(view: RoomView) -> list[MemberChange]:
            own, theirs = _group_role(view, user), _role_of(view, other)
            if own is not Role.OWNER or user == other:
                raise RefusedError(Reason.NOT_ALLOWED)
            if role is theirs:
                return []
            changes = [MemberChange(user=other, role=role)]
            if role is Role.OWNER:
                changes.append(MemberChange(user=user, role=Role.ADMIN))
            return changes

        await self._change_members(room_id, user, given)

    async def _change_members(
        self, room_id: str, user: str, make: Callable[[RoomView], list[MemberChange]]
    ) -> None:
        """Commit changes of members, and write the members' documents."""

        def members(view: RoomView) -> AnyEvent:
            changes = make(view)
            if not changes:
                raise NotNeededError
            return Members(
                room=room_id, rev=view.rev + 1, at=self._now(), by=user, changes=tuple(changes)
            )

        try:
            await self._appender.append(room_id, members)
        except NotNeededError:
            return
        await self._cache.settle_members(await self._directory.get(room_id))

    async def _without_deleted(self, room_id: str, users: Sequence[str]) -> None:
        """Take back who was added while their account was being deleted.

        Looked at afterwards: a deletion buries first and looks for rooms then.
        """
        if await self._store.buried([placeholder(one) for one in users]):
            for one in users:
                if await self._store.buried([placeholder(one)]):
                    await self._appender.depart(room_id, one)

    async def _users(self, tags: Sequence[str]) -> list[str]:
        found = await self._store.by_tags(tags) if tags else {}
        unknown = [tag for tag in tags if tag not in found]
        if unknown:
            raise NoSuchUserError(*unknown)
        return list(dict.fromkeys(found[tag].user_id for tag in tags))

    def _check_count(self, members: int) -> None:
        if members > self._members_max:
            raise RefusedError(Reason.TOO_MANY_MEMBERS, limit=self._members_max)

    @staticmethod
    def _now() -> datetime:
        return datetime.now(UTC)


def _changed(appearance: Appearance) -> dict[str, Any]:
    fields = {
        "name": appearance.name,
        "picture": appearance.picture,
        "description": appearance.description,
        "settings": appearance.settings and appearance.settings.model_dump(),
    }
    return {name: value for name, value in fields.items() if value is not None}


def _group_role(view: RoomView, user: str) -> Role:
    """Return a member's role in a group.

    Raises:
        NoSuchRoomError: the user is not a member.
        RefusedError: the room is not a group.
    """
    member = view.members.get(user)
    if member is None:
        raise NoSuchRoomError
    if view.kind != "group":
        raise RefusedError(Reason.NOT_A_GROUP)
    return member.role


def _role_of(view: RoomView, user: str) -> Role:
    member = view.members.get(user)
    if member is None:
        raise RefusedError(Reason.NOT_A_MEMBER)
    return member.role


def _managed_group(view: RoomView, user: str) -> None:
    if _group_role(view, user) is Role.MEMBER:
        raise RefusedError(Reason.NOT_ALLOWED)
