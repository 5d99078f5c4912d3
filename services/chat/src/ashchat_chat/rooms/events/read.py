"""Kind `read`: a user has read up to a revision."""

from collections.abc import Collection
from typing import Any, Literal, Self

from pydantic import Field

from ashchat_chat.rooms.events.base import Event
from ashchat_chat.rooms.identifiers import placeholder
from ashchat_chat.rooms.views import MessageView, RoomView


class Read(Event):
    """A user has read up to a revision."""

    kind: Literal["read"] = "read"
    user: str
    up_to: int = Field(ge=1)

    @property
    def about(self) -> None:
        """No message."""

    def payload(self) -> dict[str, Any]:
        """Return the event as protocol 2 has it."""
        return {**self.head(), "user_id": self.user, "up_to": self.up_to}

    def visible_to(self, language: str) -> bool:  # noqa: ARG002
        """Return True: it is sent to every reader."""
        return True

    def fold_room(self, view: RoomView) -> RoomView:
        """Return the room with the user's read position, which only rises."""
        position = max(view.reads.get(self.user, 0), self.up_to)
        return view.model_copy(update={"reads": {**view.reads, self.user: position}})

    def fold_message(self, before: MessageView | None) -> MessageView | None:
        """Return the message unchanged."""
        return before

    def erased_for(self, user: str, theirs: Collection[int]) -> Self | None:  # noqa: ARG002
        """Return the event with the user's placeholder."""
        return self.model_copy(update={"user": placeholder(user)}) if self.user == user else None
