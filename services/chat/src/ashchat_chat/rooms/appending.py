"""Appending to the logs of rooms.

* The insert of an event is its commit; everything is published after it.
* `rev` = last + 1, inserted optimistically. A conflict means that the room moved on, or that
  the sender's own id is stored already: then that event is the answer.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from ashchat_chat import metrics
from ashchat_chat.clock import monotonic
from ashchat_chat.rooms.caching import RoomCache
from ashchat_chat.rooms.directory import RoomDirectory
from ashchat_chat.rooms.errors import (
    NoSuchMessageError,
    NoSuchRoomError,
    NotNeededError,
    Reason,
    ReceiverDeletedError,
    RefusedError,
)
from ashchat_chat.rooms.events import (
    ALL_MEMBERS,
    AnyEvent,
    Deleted,
    MemberChange,
    Members,
    Sent,
    Translated,
)
from ashchat_chat.rooms.identifiers import TRANSLATOR, is_placeholder, message_place, placeholder
from ashchat_chat.rooms.ports import (
    ConflictError,
    Job,
    Position,
    RoomStore,
    StoreUnavailableError,
)
from ashchat_chat.rooms.positions import Positions
from ashchat_chat.rooms.reader_languages import ReaderLanguages
from ashchat_chat.rooms.room import Room
from ashchat_chat.rooms.views import Role, RoomView
from ashchat_core import languages
from ashchat_core.messages import TranslationResult

APPEND_SECONDS = 6.0
"""How long an append is retried while the store is unavailable; clients give up after 10 s."""

APPEND_AGAIN_SECONDS = 0.2
CONFLICTS_BEFORE_PAUSE = 3
"""Conflicts of one append before it waits a random moment: the room is busy on several pods."""


REFUSALS = (NoSuchRoomError, NotNeededError, ReceiverDeletedError, RefusedError)


@dataclass(frozen=True, slots=True)
class Draft:
    """A message before it has a place in a log."""

    text: str
    client_id: str
    language: str | None = None
    """What it is written in; None: what the sender reads."""
    reply_to: int | None = None
    mentions: tuple[str, ...] = ()


def check_mentions(view: RoomView, user: str, draft: Draft) -> None:
    """Check the permission to mention all members, with the room as it is before the event.

    Raises:
        RefusedError: the user does not have it.
    """
    if ALL_MEMBERS in draft.mentions and not view.lets_mention_all(user):
        raise RefusedError(Reason.MENTION_ALL_NOT_ALLOWED)


class Appender:
    """Commits events, and publishes them."""

    def __init__(
        self,
        store: RoomStore,
        directory: RoomDirectory,
        reader_languages: ReaderLanguages,
        *,
        job: Job,
        cache: RoomCache,
        positions: Positions,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._directory = directory
        self._languages = reader_languages
        self._job = job
        self._cache = cache
        self._positions = positions
        self._now = now
        self._appending: set[asyncio.Task[tuple[AnyEvent, bool]]] = set()
        self._on_doubt: Callable[[str], None] = lambda _: None

    def call_on_doubt(self, on_doubt: Callable[[str], None]) -> None:
        """Call a function with a room's id when it is not known what was committed to it."""
        self._on_doubt = on_doubt

    async def send(self, room_id: str, user: str, draft: Draft) -> tuple[Sent, bool]:
        """Commit a message; return it, and whether it is new.

        A repeated `client_id` returns the message that it was the first time.

        Raises:
            NoSuchRoomError: the room does not exist, or the user is not in it.
            ReceiverDeletedError: the other user has deleted their account.
            RefusedError: the user may not mention all members.
            StoreUnavailableError: it may have been committed; sending it again is safe.
        """
        room = await self._directory.get_for(user, room_id)
        source, targets = await self.languages_for(room, user, draft.language)

        def message(view: RoomView) -> Sent:
            if user not in view.members:
                raise NoSuchRoomError
            if view.kind == "direct" and any(map(is_placeholder, view.members)):
                raise ReceiverDeletedError
            check_mentions(view, user, draft)
            return Sent(
                room=room_id,
                rev=view.rev + 1,
                n=view.n + 1,
                at=self._now(),
                sender=user,
                client_id=draft.client_id,
                text=draft.text,
                language=source,
                targets=targets,
                reply_to=draft.reply_to,
                mentions=draft.mentions,
            )

        event, fresh = await self.append(room_id, message, sender=user, client_id=draft.client_id)
        if not isinstance(event, Sent):
            raise RefusedError(Reason.ID_TAKEN)
        if fresh:
            metrics.ACCEPTED.inc()
            if event.targets:
                self._job(event)
            # Sending a message means having read what came before.
            self._positions.raise_soon(room_id, user, Position(read=event.n))
        else:
            metrics.DUPLICATES.inc()
        return event, fresh

    async def depart(self, room_id: str, user: str) -> None:
        """Replace a user by a placeholder permanently; repeating it changes nothing.

        It is an event like others and therefore a fence: a pod that appends an event knows all
        previous ones, so after this one no pod can commit anything of that user.

        Raises:
            NoSuchRoomError: the room does not exist.
            StoreUnavailableError: it may have been committed; repeating it is safe.
        """

        def without(view: RoomView) -> Members:
            if user not in view.members:
                raise NotNeededError
            return Members(
                room=room_id, rev=view.rev + 1, at=self._now(), changes=_without(view, user)
            )

        await self._directory.get(room_id)
        await self._store.prepare_members(room_id, [placeholder(user)])
        with contextlib.suppress(NotNeededError):
            await self.append(room_id, without)
        # Everything that names the user is written over, before what they wrote is erased.
        await self._cache.flush([room_id])

    async def translated(self, result: TranslationResult) -> bool:
        """Commit a translation once per (message, version, language); return whether it is new.

        A translation of a message whose sender has deleted their account is dropped.

        Raises:
            NoSuchMessageError: nothing in the log has that id.
            StoreUnavailableError: it may have been committed; repeating it is safe.
        """
        place = message_place(result.message)
        if place is None:
            raise NoSuchMessageError
        room_id, rev = place
        try:
            room = await self._directory.get(room_id)
        except NoSuchRoomError:
            raise NoSuchMessageError from None
        original = await self._store.at(room_id, rev)
        if not isinstance(original, Sent):
            raise NoSuchMessageError
        earlier = await self._store.about({room_id: [rev]})
        if any(isinstance(event, Deleted) for event in earlier):
            return False

        def translation(view: RoomView) -> Translated:
            left = view.kind == "direct" and original.sender not in view.members
            if original.erased or left or rev in room.deleted or original.sender in room.departed:
                raise NotNeededError
            return Translated(
                room=room_id,
                rev=view.rev + 1,
                at=self._now(),
                client_id=client_id,
                about=rev,
                text_version=result.text_version,
                target=result.target,
                outcome=result.outcome,
                text=result.text,
                provider=result.provider,
                reason=result.reason,
            )

        client_id = _translation_id(rev, result, earlier)
        try:
            event, fresh = await self.append(
                room_id, translation, sender=TRANSLATOR, client_id=client_id
            )
        except NotNeededError:
            return False
        if fresh and isinstance(event, Translated):
            metrics.TRANSLATION_SECONDS.observe((event.at - original.at).total_seconds())
        return fresh

    async def languages_for(
        self, room: Room, user: str, language: str | None
    ) -> tuple[str, tuple[str, ...]]:
        """Return what a user writes in, and the languages that other members read.

        Raises:
            StoreUnavailableError: the store could not be read.
        """
        read = await self._languages.of([*room.view.members])
        source = language if language not in {None, languages.UNKNOWN} else read.get(user)
        source = source or languages.UNKNOWN
        others = [tag for member, tag in read.items() if member != user]
        return source, languages.targets(source, others)

    async def append(
        self,
        room_id: str,
        make: Callable[[RoomView], AnyEvent],
        *,
        sender: str = "",
        client_id: str = "",
    ) -> tuple[AnyEvent, bool]:
        """Insert an event at the end of the log; return it, and whether this call did.

        `make` gets the room as it is before the event, and refuses by an exception. A cancelled
        caller does not stop it: what is committed must be published.
        """
        own_id = (sender, client_id)
        appending = asyncio.create_task(self._append_one(room_id, make, own_id))
        self._appending.add(appending)
        appending.add_done_callback(self._appending.discard)
        return await asyncio.shield(appending)

    async def _append_one(
        self, room_id: str, make: Callable[[RoomView], AnyEvent], own_id: tuple[str, str]
    ) -> tuple[AnyEvent, bool]:
        started = monotonic()
        room = await self._directory.get(room_id)
        # One at a time on this pod; other pods are met at the unique index.
        async with room.lock:
            try:
                event, fresh = await self._insert(room, make, own_id, started)
            except StoreUnavailableError:
                self._on_doubt(room_id)
                raise
            if not fresh:
                # The pod that committed it may have died before it published it.
                self._directory.publish(event, room.view.members)
                return event, False
            metrics.COMMIT_SECONDS.observe(monotonic() - started)
            metrics.EVENTS.labels(event.kind).inc()
            self._directory.offer(room, [event])
            self._directory.publish(event, room.view.members)
            self._cache.changed(room)
        return event, True

    async def _insert(
        self,
        room: Room,
        make: Callable[[RoomView], AnyEvent],
        own_id: tuple[str, str],
        started: float,
    ) -> tuple[AnyEvent, bool]:
        """Insert an event, or return the stored one that has the same client's id."""
        conflicts = 0
        current = False
        while True:
            try:
                event = make(room.view)
            except REFUSALS:
                # Other pods may have changed what the rules refuse.
                if current:
                    raise
                await self._directory.refresh(room)
                current = True
                continue
            try:
                await self._store.insert(event)
            except ConflictError:
                metrics.CONFLICTS.inc()
                found = await self._store.by_client_id(room.id, *own_id) if own_id[1] else None
                await self._directory.refresh(room)
                if found is not None:
                    return found, False
                conflicts += 1
                if conflicts > CONFLICTS_BEFORE_PAUSE:
                    await asyncio.sleep(random.uniform(0.0, 0.01))  # noqa: S311
            except StoreUnavailableError:
                # It may be stored: the next insert then meets it as a conflict.
                if monotonic() - started > APPEND_SECONDS:
                    raise
                await asyncio.sleep(APPEND_AGAIN_SECONDS)
            else:
                return event, True


def _without(view: RoomView, user: str) -> tuple[MemberChange, ...]:
    """Return what happens to a room's members when a user's account is deleted.

    A direct room keeps the placeholder as a member. A group does not, but the event names it, so
    that clients delete what that user wrote; an owner is followed by the admin, or else the
    member, who has been there longest.
    """
    role = view.members[user].role
    left = MemberChange(user=user, role=None)
    if view.kind == "direct":
        return left, MemberChange(user=placeholder(user), role=role)
    changes = (left, MemberChange(user=placeholder(user), role=None))
    others = [one for one in view.members if one != user]
    if role is not Role.OWNER or not others:
        return changes
    admins = [one for one in others if view.members[one].role is Role.ADMIN]
    heir = min(admins or others, key=lambda one: view.members[one].joined_rev)
    return (*changes, MemberChange(user=heir, role=Role.OWNER))


def _translation_id(rev: int, result: TranslationResult, earlier: Iterable[AnyEvent]) -> str:
    """Return the id of a translation: one per version and language, and per failed attempt."""
    failed = [
        event.rev
        for event in earlier
        if isinstance(event, Translated)
        and (event.text_version, event.target) == (result.text_version, result.target)
        and event.outcome == "failed"
    ]
    again = f".{failed[-1]}" if failed and result.outcome != "failed" else ""
    return f"{rev}.{result.text_version}.{result.target}{again}"
