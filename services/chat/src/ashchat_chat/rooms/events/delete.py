"""Kind `delete`: a message was deleted for all members."""

from collections.abc import Collection
from typing import Literal, Self

from ashchat_chat.rooms.events.base import AboutMessage, Event
from ashchat_chat.rooms.identifiers import message_id, placeholder
from ashchat_chat.rooms.views import MessageView, RoomView
from ashchat_core import languages


class DeletedPayload(AboutMessage):
    """A message was deleted for all members. It keeps its number."""

    kind: Literal["delete"]
    by: str


class Deleted(Event):
    """A message was deleted for all. It keeps its number, and counts as unread until read."""

    kind: Literal["delete"] = "delete"
    about: int
    """The revision of the deleted message."""
    number: int
    """The number of the deleted message."""
    by: str

    def payload(self) -> DeletedPayload:
        """Return the event as protocol 2 has it."""
        return {
            **self.head(),
            "kind": self.kind,
            "message_id": message_id(self.room, self.about),
            "message_rev": self.about,
            "by": self.by,
        }

    def visible_to(self, language: str) -> bool:  # noqa: ARG002
        """Return True: it is sent to every reader."""
        return True

    def fold_room(self, view: RoomView) -> RoomView:
        """Return the room unchanged: the number of its messages does not fall."""
        return view

    def fold_message(self, before: MessageView | None) -> MessageView | None:
        """Return the message without its text and what belongs to it."""
        if before is None:
            return None
        return before.model_copy(
            update={
                "text": "",
                "language": languages.UNKNOWN,
                "translations": {},
                "reactions": {},
                "mentions": (),
                "reply_to": None,
                "deleted": True,
            }
        )

    def erased_for(self, user: str, theirs: Collection[int]) -> Self | None:  # noqa: ARG002
        """Return the event by the user's placeholder."""
        return self.model_copy(update={"by": placeholder(user)}) if self.by == user else None

    def purged(self) -> None:
        """Return None: it has no text."""
