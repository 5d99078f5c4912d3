"""Messages after they were sent: edited, deleted for all, translated again; and mentions."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from ashchat_chat.rooms.appending import Appender, Draft
from ashchat_chat.rooms.directory import RoomDirectory
from ashchat_chat.rooms.errors import NoSuchRoomError, NotNeededError, Reason, RefusedError
from ashchat_chat.rooms.events import ALL_MEMBERS, AnyEvent, Deleted, Edited, Reacted, Sent, Text
from ashchat_chat.rooms.folds import fold_messages
from ashchat_chat.rooms.ports import HistoryStore, Job, LogStore, Profile
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


@dataclass(frozen=True, slots=True)
class _Stored:
    """A message, and the events that refer to it."""

    sent: Sent
    events: list[AnyEvent]
    view: MessageView


class Messages:
    """Changes messages."""

    def __init__(
        self, store: MessageStore, directory: RoomDirectory, appender: Appender, *, job: Job
    ) -> None:
        self._store = store
        self._directory = directory
        self._appender = appender
        self._job = job

    async def edit(self, room_id: str, user: str, rev: int, draft: Draft) -> tuple[Edited, bool]:
        """Commit another text of the user's own message; return the event, and whether it is new.

        The text is translated again; earlier texts stay in the log.

        Raises:
            NoSuchRoomError, RefusedError, StoreUnavailableError
        """
        stored = await self._message(room_id, user, rev)
        if stored.sent.sender != user:
            raise RefusedError(Reason.NOT_ALLOWED)
        if sum(isinstance(event, Edited) for event in stored.events) >= EDITS_MAX:
            raise RefusedError(Reason.TOO_MANY_EDITS, limit=EDITS_MAX)
        room = await self._directory.get(room_id)
        source, targets = await self._appender.languages_for(room, user, draft.language)

        def edited(view: RoomView) -> Edited:
            _member(view, user)
            if rev in room.deleted:
                raise RefusedError(Reason.MESSAGE_DELETED)
            return Edited(
                room=room_id,
                rev=view.rev + 1,
                at=datetime.now(UTC),
                about=rev,
                sender=user,
                client_id=draft.client_id,
                text=draft.text,
                language=source,
                targets=targets,
            )

        event, fresh = await self._appender.append(
            room_id, edited, sender=user, client_id=draft.client_id
        )
        if not isinstance(event, Edited):
            raise RefusedError(Reason.NO_SUCH_MESSAGE)
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
        try:
            stored = await self._message(room_id, user, rev)
        except RefusedError as refused:
            if refused.reason is Reason.MESSAGE_DELETED:
                return
            raise
        room = await self._directory.get(room_id)

        def deleted(view: RoomView) -> Deleted:
            member_role = _member(view, user)
            if stored.sent.sender != user and (view.kind != "group" or member_role is Role.MEMBER):
                raise RefusedError(Reason.NOT_ALLOWED)
            if rev in room.deleted:
                raise NotNeededError
            return Deleted(
                room=room_id,
                rev=view.rev + 1,
                at=datetime.now(UTC),
                about=rev,
                number=stored.sent.n,
                by=user,
            )

        try:
            event, _ = await self._appender.append(room_id, deleted)
        except NotNeededError:
            return
        if isinstance(event, Deleted):
            await self.purge(event)

    async def react(self, room_id: str, user: str, rev: int, emoji: str, *, on: bool) -> None:
        """Put an emoji on a message, or take it back. Repeating it changes nothing.

        Raises:
            NoSuchRoomError, RefusedError, StoreUnavailableError
        """
        stored = await self._message(room_id, user, rev)
        if (user in stored.view.reactions.get(emoji, ())) is on:
            return
        own = sum(isinstance(one, Reacted) and one.by == user for one in stored.events)
        if own >= REACTION_CHANGES_MAX:
            raise RefusedError(Reason.TOO_MANY_REACTIONS, limit=REACTION_CHANGES_MAX)
        if on and len(stored.view.reactions.keys() | {emoji}) > EMOJI_MAX:
            raise RefusedError(Reason.TOO_MANY_REACTIONS, limit=EMOJI_MAX)
        room = await self._directory.get(room_id)

        def reacted(view: RoomView) -> Reacted:
            _member(view, user)
            if rev in room.deleted:
                raise RefusedError(Reason.MESSAGE_DELETED)
            return Reacted(
                room=room_id,
                rev=view.rev + 1,
                at=datetime.now(UTC),
                about=rev,
                by=user,
                emoji=emoji,
                on=on,
            )

        await self._appender.append(room_id, reacted)

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
            RefusedError: too many, or all without the permission.
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
            if room.view.settings.mention_all == "admins" and not room.view.manages(user):
                raise RefusedError(Reason.MENTION_ALL_NOT_ALLOWED)
            mentioned.append(ALL_MEMBERS)
        return tuple(mentioned)

    async def check_reply(self, room_id: str, user: str, rev: int) -> None:
        """Check that a message can be answered.

        Raises:
            NoSuchRoomError, RefusedError, StoreUnavailableError
        """
        await self._message(room_id, user, rev)

    async def _message(self, room_id: str, user: str, rev: int) -> _Stored:
        """Return a message that a member sees."""
        room = await self._directory.get_for(user, room_id)
        sent = await self._store.at(room_id, rev)
        if not isinstance(sent, Sent) or sent.erased or not room.view.shows(user, rev):
            raise RefusedError(Reason.NO_SUCH_MESSAGE)
        events = await self._store.about({room_id: [rev]})
        (view,) = fold_messages([], [sent, *events])
        if view.deleted:
            raise RefusedError(Reason.MESSAGE_DELETED)
        return _Stored(sent, events, view)


def _member(view: RoomView, user: str) -> Role:
    member = view.members.get(user)
    if member is None:
        raise NoSuchRoomError
    return member.role
