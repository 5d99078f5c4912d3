"""What users do with messages: send, edit, delete for all, react, and mention.

What a request is checked against is read before the commit, and others commit meanwhile: also a
repetition of the same request, sent because its answer was late. So every check is made again
with what was committed since, immediately before the commit.
"""

import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Protocol, TypeVar

from ashchat_chat.rooms.appending import Appender, Draft, check_mentions
from ashchat_chat.rooms.charging import charged
from ashchat_chat.rooms.directory import RoomDirectory
from ashchat_chat.rooms.errors import (
    NoSuchRoomError,
    NotNeededError,
    Reason,
    ReceiverDeletedError,
    RefusedError,
)
from ashchat_chat.rooms.events import ALL_MEMBERS, AnyEvent, Deleted, Edited, Reacted, Sent, Text
from ashchat_chat.rooms.folds import fold_messages
from ashchat_chat.rooms.ports import HistoryStore, Job, LogStore, Profile, TextQuota
from ashchat_chat.rooms.views import MessageView, Role, RoomView
from ashchat_core import languages

EDITS_MAX = 50
"""Maximum edits of one message."""

EMOJI_MAX = 20
"""Maximum different emoji on one message."""

REACTION_CHANGES_MAX = 40
"""Maximum reactions of one user to one message, also those taken back."""

MENTIONS_MAX = 50
"""Maximum different users mentioned by one message."""

_MENTION = re.compile(r"(?<![\w@])@(\w{1,64})", re.ASCII)
_ALL = "all"


class MessageStore(LogStore, HistoryStore, Protocol):
    """The log, profiles by tag, and what is left of deleted texts."""

    async def by_tags(self, tags: Sequence[str]) -> dict[str, Profile]:
        """Return the profiles with these tags, by tag."""
        ...

    async def purge(self, deletion: Deleted, events: Sequence[AnyEvent]) -> None:
        """Replace the events of the same revisions, and the preview of the deleted message.

        The mark of the deletion is removed last.
        """
        ...

    async def unpurged(self, before: datetime, limit: int) -> list[Deleted]:
        """Return deletions whose texts may still be stored."""
        ...

    async def set_preview(self, room: str, n: int, text: str) -> None:
        """Change the text of a room's preview, if it is that of a message."""
        ...


_EventT = TypeVar("_EventT", Sent, Edited)


class _OutdatedError(Exception):
    """It is not known any more what was committed since a message was read."""


@dataclass(frozen=True, slots=True)
class _Stored:
    """A message, and the events that refer to it, complete up to a revision of the log."""

    sent: Sent
    events: tuple[AnyEvent, ...]
    complete_to: int

    @property
    def view(self) -> MessageView:
        """The message as it is now."""
        (view,) = fold_messages([], [self.sent, *self.events])
        return view

    def count(self, kind: type[AnyEvent], user: str) -> int:
        """Return how many of the events are of a kind, and a user's."""
        events = [event for event in self.events if isinstance(event, kind)]
        return sum(user == getattr(event, "by", self.sent.sender) for event in events)


class Messages:
    """Sends and changes messages."""

    def __init__(
        self,
        store: MessageStore,
        directory: RoomDirectory,
        appender: Appender,
        *,
        job: Job,
        quota: TextQuota,
    ) -> None:
        self._store = store
        self._quota = quota
        self._directory = directory
        self._appender = appender
        self._job = job

    async def send(self, room_id: str, user: str, draft: Draft) -> tuple[Sent, bool]:
        """Commit a message, with the members that its text mentions.

        Returns:
            The message, and whether it is new: a repeated `client_id` returns the message that
            it was the first time.

        Raises:
            NoSuchRoomError, RefusedError, ReceiverDeletedError, StoreUnavailableError
        """
        try:
            if draft.reply_to is not None:
                await self._message(room_id, user, draft.reply_to)
            mentions = await self.mentions(room_id, user, draft.text)
            draft = replace(draft, mentions=mentions)
            append = partial(self._appender.send, room_id, user, draft)
            return await charged(self._quota, user, draft.text, append)
        except (RefusedError, ReceiverDeletedError):
            earlier = await self._committed(Sent, room_id, user, draft.client_id)
            if earlier is None:
                raise
            return earlier, False

    async def edit(self, room_id: str, user: str, rev: int, draft: Draft) -> tuple[Edited, bool]:
        """Commit another text of the user's own message; return the event, and whether it is new.

        The text is translated again, and from here on the message mentions whom this text
        mentions; earlier texts stay in the log. A repeated `client_id` returns the event that it
        was the first time.

        Raises:
            NoSuchRoomError, RefusedError, StoreUnavailableError
        """
        try:
            mentions = await self.mentions(room_id, user, draft.text)
            append = partial(self._edit, room_id, user, rev, replace(draft, mentions=mentions))
            return await charged(self._quota, user, draft.text, append)
        except RefusedError:
            earlier = await self._committed(Edited, room_id, user, draft.client_id)
            if earlier is None or earlier.about != rev:
                raise
            return earlier, False

    async def _edit(self, room_id: str, user: str, rev: int, draft: Draft) -> tuple[Edited, bool]:
        room = await self._directory.get_for(user, room_id)
        source, targets = await self._appender.languages_for(room, user, draft.language)

        def edited(view: RoomView, stored: _Stored) -> Edited:
            if stored.sent.sender != user:
                raise RefusedError(Reason.NOT_ALLOWED)
            if stored.count(Edited, user) >= EDITS_MAX:
                raise RefusedError(Reason.TOO_MANY_EDITS, limit=EDITS_MAX)
            check_mentions(view, user, draft)
            before = stored.view.mentions
            return Edited(
                room=room_id,
                rev=view.rev + 1,
                at=datetime.now(UTC),
                about=rev,
                number=stored.sent.n,
                sender=user,
                client_id=draft.client_id,
                text=draft.text,
                language=source,
                targets=targets,
                mentions=draft.mentions,
                no_longer_mentioned=tuple(one for one in before if one not in draft.mentions),
            )

        stored, event, fresh = await self._change(room_id, user, rev, edited, draft.client_id)
        if not isinstance(event, Edited) or event.about != rev:
            raise RefusedError(Reason.ID_TAKEN)
        if fresh:
            await self._store.set_preview(room_id, stored.sent.n, draft.text)
            if targets:
                self._job(event)
        return event, fresh

    async def delete(self, room_id: str, user: str, rev: int) -> None:
        """Delete a message for all members: the user's own, or in a group as owner or admin.

        Its texts and translations are removed from the log. Repeating it changes nothing.

        Raises:
            NoSuchRoomError, RefusedError, StoreUnavailableError
        """

        def deleted(view: RoomView, stored: _Stored) -> Deleted:
            member_role = _member(view, user)
            if stored.sent.sender != user and (view.kind != "group" or member_role is Role.MEMBER):
                raise RefusedError(Reason.NOT_ALLOWED)
            return Deleted(
                room=room_id,
                rev=view.rev + 1,
                at=datetime.now(UTC),
                about=rev,
                number=stored.sent.n,
                by=user,
            )

        try:
            _, event, _ = await self._change(room_id, user, rev, deleted)
        except RefusedError as refused:
            if refused.reason is Reason.MESSAGE_DELETED:
                return
            raise
        if isinstance(event, Deleted):
            await self.purge(event)

    async def react(
        self, room_id: str, user: str, rev: int, emoji: str, *, on: bool, client_id: str = ""
    ) -> None:
        """Put an emoji on a message, or take it back. Repeating it changes nothing.

        With a `client_id`, also a repetition that is late changes nothing: one that comes after
        the opposite.

        Raises:
            NoSuchRoomError, RefusedError, StoreUnavailableError
        """

        def reacted(view: RoomView, stored: _Stored) -> Reacted:
            reactions = stored.view.reactions
            if (user in reactions.get(emoji, ())) is on:
                raise NotNeededError
            if stored.count(Reacted, user) >= REACTION_CHANGES_MAX:
                raise RefusedError(Reason.TOO_MANY_REACTIONS, limit=REACTION_CHANGES_MAX)
            if on and len(reactions.keys() | {emoji}) > EMOJI_MAX:
                raise RefusedError(Reason.TOO_MANY_REACTIONS, limit=EMOJI_MAX)
            return Reacted(
                room=room_id,
                rev=view.rev + 1,
                at=datetime.now(UTC),
                about=rev,
                by=user,
                emoji=emoji,
                on=on,
                client_id=client_id or None,
            )

        async def append() -> tuple[AnyEvent, bool]:
            _, event, fresh = await self._change(room_id, user, rev, reacted, client_id)
            asked = (rev, emoji, on)
            if not isinstance(event, Reacted) or (event.about, event.emoji, event.on) != asked:
                raise RefusedError(Reason.ID_TAKEN)
            return event, fresh

        with contextlib.suppress(NotNeededError):
            await charged(self._quota, user, "", append)

    async def purge(self, deletion: Deleted) -> None:
        """Remove the texts of a deleted message from the log; repeating it changes nothing.

        Raises:
            StoreUnavailableError: some may still be stored; `unpurged` returns the deletion.
        """
        sent = await self._store.at(deletion.room, deletion.about)
        about = await self._store.about({deletion.room: [deletion.about]})
        events = [sent, *about] if sent is not None else about
        purged = [one for event in events if (one := event.purged()) is not None]
        await self._store.purge(deletion, purged)

    async def translate_again(self, room_id: str, user: str, rev: int, language: str) -> None:
        """Request a translation that failed once more.

        Raises:
            NoSuchRoomError, RefusedError, StoreUnavailableError
        """
        stored = await self._message(room_id, user, rev)
        for target, translation in stored.view.translations.items():
            if translation.outcome == "failed" and languages.same(language, target):
                texts: list[Text] = [one for one in stored.events if isinstance(one, Edited)]
                newest = texts[-1] if texts else stored.sent
                self._job(newest.model_copy(update={"targets": (target,)}))
                return
        raise RefusedError(Reason.NOTHING_FAILED)

    async def mentions(self, room_id: str, user: str, text: str) -> tuple[str, ...]:
        """Return the members that a text mentions: `@tag`, or `@all` for all.

        Raises:
            NoSuchRoomError, StoreUnavailableError
            RefusedError: too many. The permission to mention all is checked at the commit.
        """
        tags = list(dict.fromkeys(_MENTION.findall(text)))
        if not tags:
            return ()
        room = await self._directory.get_for(user, room_id)
        if len(tags) > MENTIONS_MAX:
            raise RefusedError(Reason.TOO_MANY_MENTIONS, limit=MENTIONS_MAX)
        found: Mapping[str, Profile] = await self._store.by_tags(tags)
        mentioned = [found[tag].user_id for tag in tags if tag in found]
        mentioned = [one for one in mentioned if one in room.view.members and one != user]
        if _ALL in tags and room.view.kind == "group":
            mentioned.append(ALL_MEMBERS)
        return tuple(mentioned)

    async def _change(
        self,
        room_id: str,
        user: str,
        rev: int,
        make: Callable[[RoomView, _Stored], AnyEvent],
        client_id: str = "",
    ) -> tuple[_Stored, AnyEvent, bool]:
        """Commit what `make` returns of a message as it is immediately before the commit.

        Returns:
            The message as it was read, the event, and whether this call committed it.

        Raises:
            NoSuchRoomError, RefusedError, StoreUnavailableError, and what `make` raises.
        """
        while True:
            stored = await self._message(room_id, user, rev)

            def event(view: RoomView, stored: _Stored = stored) -> AnyEvent:
                _member(view, user)
                current = self._updated(stored, view)
                if current.view.deleted:
                    raise RefusedError(Reason.MESSAGE_DELETED)
                return make(view, current)

            try:
                committed, fresh = await self._appender.append(
                    room_id, event, sender=user, client_id=client_id
                )
            except _OutdatedError:
                # Others were quicker, so this ends; it takes a change of members or a deletion.
                continue
            return stored, committed, fresh

    def _updated(self, stored: _Stored, view: RoomView) -> _Stored:
        """Add what was committed since a message was read.

        Raises:
            _OutdatedError: it is not in memory.
        """
        if view.rev <= stored.complete_to:
            return stored
        newer = self._directory.recent.after(view.room, stored.complete_to)
        if newer is None:
            raise _OutdatedError
        known = {event.rev for event in stored.events}
        missing = [one for one in newer if one.message_rev == stored.sent.rev]
        return replace(
            stored, events=(*stored.events, *(one for one in missing if one.rev not in known))
        )

    async def _committed(
        self, kind: type[_EventT], room_id: str, user: str, client_id: str
    ) -> _EventT | None:
        """Return the event of a user's own id, if it is of a kind.

        A repetition may come after what would refuse it now: the deletion of the message, the
        last edit that is allowed. Its first answer was lost, and this one must not contradict it.
        """
        await self._directory.get_for(user, room_id)
        event = await self._store.by_client_id(room_id, user, client_id)
        return event if isinstance(event, kind) else None

    async def _message(self, room_id: str, user: str, rev: int) -> _Stored:
        """Return a message that a member sees."""
        room = await self._directory.get_for(user, room_id)
        complete_to = room.view.rev
        sent = await self._store.at(room_id, rev)
        if not isinstance(sent, Sent) or sent.erased or not room.view.shows(user, rev):
            raise RefusedError(Reason.NO_SUCH_MESSAGE)
        stored = _Stored(sent, tuple(await self._store.about({room_id: [rev]})), complete_to)
        if stored.view.deleted:
            raise RefusedError(Reason.MESSAGE_DELETED)
        return stored


def _member(view: RoomView, user: str) -> Role:
    member = view.members.get(user)
    if member is None:
        raise NoSuchRoomError
    return member.role
