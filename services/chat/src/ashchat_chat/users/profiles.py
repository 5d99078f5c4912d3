"""Profiles: the rules behind the profile routes and the queues of auth."""

import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from ashchat_chat.rooms.errors import NoSuchUserError
from ashchat_chat.rooms.identifiers import is_placeholder, placeholder
from ashchat_chat.rooms.ports import ConflictError, Profile, deleted_profile
from ashchat_core import languages

DESCRIPTION_MAX_CHARS = 200
NICKNAME_MAX_CHARS = 64
PHOTO_URL_MAX_CHARS = 2_048

TAG_RANDOM_CHARS = 8
_TAG_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
_TAG_TRIES = 5


class NoProfileError(Exception):
    """A change came before the account it is about; the account is on its way."""


@dataclass(frozen=True, slots=True)
class Device:
    """A device of an account: the hash of its token, and where to push to."""

    token_hash: str
    notification_token: str | None


class ProfileStore(Protocol):
    """Profiles and devices. Every method may raise StoreUnavailableError."""

    async def add_profile(self, profile: Profile) -> None:
        """Keep a new profile. Raises ConflictError: the tag (or the person) is there."""
        ...

    async def set_devices(self, user_id: str, version: int, devices: Sequence[Device]) -> None:
        """Store an account's devices; the newest version wins. Its profile may come later."""
        ...

    async def profile(self, user_id: str) -> Profile | None:
        """Return a user's profile."""
        ...

    async def by_tag(self, tag: str) -> Profile | None:
        """Return the profile with a tag."""
        ...

    async def change(self, user_id: str, at: datetime, **fields: str) -> bool:
        """Change fields of a profile; return False when there is no such profile."""
        ...

    async def change_older(self, user_id: str, at: datetime, **fields: str) -> None:
        """Change those fields of a profile whose values are older."""
        ...

    async def last_seen(self, users: Sequence[str]) -> dict[str, datetime]:
        """Return when users were last seen; a user who never was is left out."""
        ...

    async def buried(self, gone: Sequence[str]) -> bool:
        """Return whether the account of any of these placeholders was deleted."""
        ...

    async def remove_person(self, user_id: str) -> None:
        """Delete a user's profile and devices."""
        ...

    async def contacts(self, user_id: str) -> set[str]:
        """Return the users who share a room with a user."""
        ...


def tag_for(nickname: str) -> str:
    """Return a tag: the nickname in lower case, other characters as `_`, and a random part.

    The random part is what a stranger would have to guess: 40 bits.
    """
    readable = re.sub(r"[^a-z0-9]", "_", nickname.lower())[:32]
    random = "".join(secrets.choice(_TAG_ALPHABET) for _ in range(TAG_RANDOM_CHARS))
    return f"{readable}_{random}"


class Profiles:
    """The users of the platform, as others see them."""

    def __init__(self, store: ProfileStore, *, changed: Callable[[str], None]) -> None:
        self._store = store
        self._changed = changed

    # Accounts, as reported by auth

    async def confirm_account(
        self, *, user_id: str, nickname: str, language: str, device: Device
    ) -> str | None:
        """Make a profile, once, and return its tag; None: the account was deleted since.

        Raises:
            StoreUnavailableError: not now; to repeat it is safe.
        """
        await self._store.set_devices(user_id, 0, [device])
        tag = await self._make_profile(user_id, nickname, language)
        return None if await self._removed(user_id) else tag

    async def _make_profile(self, user_id: str, nickname: str, language: str) -> str:
        for _ in range(_TAG_TRIES):
            known = await self._store.profile(user_id)
            if known is not None:
                return known.tag
            profile = Profile(
                user_id=user_id,
                nickname=nickname[:NICKNAME_MAX_CHARS],
                tag=tag_for(nickname),
                language=languages.canonical(language),
            )
            try:
                await self._store.add_profile(profile)
            except ConflictError:
                # The tag was taken, or another delivery of the same message was quicker.
                continue
            return profile.tag
        raise RuntimeError("no free tag was found")

    async def set_devices(self, user_id: str, version: int, devices: Sequence[Device]) -> None:
        """Store the devices of an account; the newest version wins.

        Raises:
            StoreUnavailableError: not now; to repeat it is safe.
        """
        await self._store.set_devices(user_id, version, devices)
        await self._removed(user_id)

    async def profile_changed(
        self, user_id: str, at: datetime, *, nickname: str | None, language: str | None
    ) -> None:
        """Store what auth reports about a user, unless something newer is known.

        Raises:
            NoProfileError: the account's own message has not come; later it is right.
            StoreUnavailableError: not now; to repeat it is safe.
        """
        if await self._store.profile(user_id) is None:
            if await self._store.buried([placeholder(user_id)]):
                return
            raise NoProfileError
        fields: dict[str, str] = {}
        if nickname is not None:
            fields["nickname"] = nickname[:NICKNAME_MAX_CHARS]
        if language is not None:
            fields["language"] = languages.canonical(language)
        await self._store.change_older(user_id, at, **fields)
        self._changed(user_id)

    async def _removed(self, user_id: str) -> bool:
        """Delete what was just stored of a user, if the account was deleted.

        Looked at afterwards: a deletion buries first and removes then, so either it finds
        what was kept, or this finds the grave.
        """
        if not await self._store.buried([placeholder(user_id)]):
            return False
        await self._store.remove_person(user_id)
        return True

    # Profiles

    async def profile(self, user_id: str) -> Profile:
        """Return a user's profile; for a deleted account, the placeholder's.

        Raises:
            NoSuchUserError: there is none.
        """
        if is_placeholder(user_id):
            return deleted_profile(user_id)
        found = await self._store.profile(user_id)
        if found is None:
            raise NoSuchUserError
        return found

    async def last_seen(self, users: Sequence[str]) -> dict[str, datetime]:
        """Return when users were last online and visible; a user who never was is left out."""
        return await self._store.last_seen([one for one in users if not is_placeholder(one)])

    async def change(self, user_id: str, **fields: str) -> None:
        """Change fields of the user's profile.

        Raises:
            NoSuchUserError: there is none.
        """
        if not await self._store.change(user_id, datetime.now(UTC), **fields):
            raise NoSuchUserError
        self._changed(user_id)

    async def contacts(self, user_id: str) -> set[str]:
        """Return the users who share a chat with a user."""
        return {who for who in await self._store.contacts(user_id) if not is_placeholder(who)}
