"""Kind `reaction`: a member put an emoji on a message, or took it back."""

from collections.abc import Collection
from typing import Literal, Self

from ashchat_chat.rooms.events.base import AboutMessage, Event
from ashchat_chat.rooms.identifiers import message_id, placeholder
from ashchat_chat.rooms.views import MessageView, RoomView


class ReactedPayload(AboutMessage):
    """A member put an emoji on a message, or took it back."""

    kind: Literal["reaction"]
    by: str
    emoji: str
    on: bool


class Reacted(Event):
    """A member reacted to a message, or took the reaction back."""

    kind: Literal["reaction"] = "reaction"
    about: int
    """The revision of the message."""
    by: str
    emoji: str
    on: bool
    """False: taken back."""
    client_id: str | None = None
    """The client's own id of the change, if it has one; (room, sender, client_id) is unique."""

    @property
    def sender(self) -> str:
        """The user whose own id it has."""
        return self.by

    def payload(self) -> ReactedPayload:
        """Return the event as protocol 2 has it."""
        return {
            **self.head(),
            "kind": self.kind,
            "message_id": message_id(self.room, self.about),
            "message_rev": self.about,
            "by": self.by,
            "emoji": self.emoji,
            "on": self.on,
        }

    def visible_to(self, language: str) -> bool:  # noqa: ARG002
        """Return True: it is sent to every reader."""
        return True

    def fold_room(self, view: RoomView) -> RoomView:
        """Return the room unchanged."""
        return view

    def fold_message(self, before: MessageView | None) -> MessageView | None:
        """Return the message with this reaction, or without."""
        if before is None or before.gone:
            return before
        users = [user for user in before.reactions.get(self.emoji, ()) if user != self.by]
        if self.on:
            users.append(self.by)
        reactions = {**before.reactions, self.emoji: tuple(users)}
        return before.model_copy(
            update={"reactions": {emoji: users for emoji, users in reactions.items() if users}}
        )

    def erased_for(self, user: str, theirs: Collection[int]) -> Self | None:  # noqa: ARG002
        """Return the reaction by the user's placeholder."""
        return self.model_copy(update={"by": placeholder(user)}) if self.by == user else None

    def purged(self) -> None:
        """Return None: it has no text."""
