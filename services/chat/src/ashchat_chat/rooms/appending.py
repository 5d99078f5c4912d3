"""Appending to the logs of rooms.

* The insert of an event is its commit; everything is published after it.
* `rev` = last + 1, inserted optimistically. A conflict means that the room moved on, or that
  the sender's own id is stored already: then that event is the answer.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable
from datetime import UTC, datetime

from ashchat_chat import metrics
from ashchat_chat.clock import monotonic
from ashchat_chat.rooms.caching import RoomCache
from ashchat_chat.rooms.directory import RoomDirectory
from ashchat_chat.rooms.errors import (
    NoSuchMessageError,
    NoSuchRoomError,
    NotNeededError,
    ReceiverDeletedError,
)
from ashchat_chat.rooms.events import AnyEvent, MemberChange, Members, Sent, Translated
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
from ashchat_chat.rooms.views import RoomView
from ashchat_core import languages
from ashchat_core.messages import TranslationResult

APPEND_SECONDS = 6.0
"""How long an append is retried while the store is unavailable; clients give up after 10 s."""

APPEND_AGAIN_SECONDS = 0.2
CONFLICTS_BEFORE_PAUSE = 3
"""Conflicts of one append before it waits a random moment: the room is busy on several pods."""


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

    async def send(
        self, room_id: str, user: str, *, text: str, language: str | None, client_id: str
    ) -> tuple[Sent, bool]:
        """Commit a message; return it, and whether it is new.

        A repeated `client_id` returns the message that it was the first time.

        Raises:
            NoSuchRoomError: the room does not exist, or the user is not in it.
            ReceiverDeletedError: the other user has deleted their account.
            StoreUnavailableError: it may have been committed; sending it again is safe.
        """
        members = await self._directory.membership(room_id, user)
        read = await self._languages.of([*members])
        source = language if language not in {None, languages.UNKNOWN} else read.get(user)
        source = source or languages.UNKNOWN
        targets = languages.targets(source, [tag for member, tag in read.items() if member != user])

        def message(view: RoomView) -> Sent:
            if user not in view.members:
                raise NoSuchRoomError
            if any(map(is_placeholder, view.members)):
                raise ReceiverDeletedError
            return Sent(
                room=room_id,
                rev=view.rev + 1,
                n=view.n + 1,
                at=self._now(),
                sender=user,
                client_id=client_id,
                text=text,
                language=source,
                targets=targets,
            )

        event, fresh = await self._append(room_id, message, sender=user, client_id=client_id)
        if not isinstance(event, Sent):
            raise TypeError("a client's id names an event that is not a message")
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
            gone = MemberChange(user=placeholder(user), role=view.members[user].role)
            changes = (MemberChange(user=user, role=None), gone)
            return Members(room=room_id, rev=view.rev + 1, at=self._now(), changes=changes)

        await self._directory.get(room_id)
        await self._store.prepare_members(room_id, [placeholder(user)])
        with contextlib.suppress(NotNeededError):
            await self._append(room_id, without)
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
            await self._directory.get(room_id)
        except NoSuchRoomError:
            raise NoSuchMessageError from None
        original = await self._store.at(room_id, rev)
        if not isinstance(original, Sent):
            raise NoSuchMessageError
        client_id = f"{rev}.{result.text_version}.{result.target}"

        def translation(view: RoomView) -> Translated:
            if original.erased or original.sender not in view.members:
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

        try:
            event, fresh = await self._append(
                room_id, translation, sender=TRANSLATOR, client_id=client_id
            )
        except NotNeededError:
            return False
        if fresh and isinstance(event, Translated):
            metrics.TRANSLATION_SECONDS.observe((event.at - original.at).total_seconds())
        return fresh

    async def _append(
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
        while True:
            event = make(room.view)
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
