"""Kind `room`: a group's name, picture, description or settings changed."""

from collections.abc import Collection
from typing import Any, Literal, Self

from ashchat_chat.rooms.events.base import Event
from ashchat_chat.rooms.identifiers import placeholder
from ashchat_chat.rooms.views import MessageView, RoomView, Settings

FIELDS = ("name", "picture", "description")


class RoomChanged(Event):
    """A group's appearance or settings changed. A field that is absent does not change."""

    kind: Literal["room"] = "room"
    by: str
    name: str | None = None
    picture: str | None = None
    description: str | None = None
    settings: Settings | None = None

    def payload(self) -> dict[str, Any]:
        """Return the event as protocol 2 has it."""
        changed = {name: getattr(self, name) for name in FIELDS if getattr(self, name) is not None}
        if self.settings is not None:
            changed["settings"] = self.settings.model_dump()
        return {**self.head(), "by": self.by, **changed}

    def visible_to(self, language: str) -> bool:  # noqa: ARG002
        """Return True: it is sent to every reader."""
        return True

    def fold_room(self, view: RoomView) -> RoomView:
        """Return the room with these changes."""
        names = (*FIELDS, "settings")
        changed = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return view.model_copy(update=changed)

    def fold_message(self, before: MessageView | None) -> MessageView | None:
        """Return the message unchanged."""
        return before

    def erased_for(self, user: str, theirs: Collection[int]) -> Self | None:  # noqa: ARG002
        """Return the event by the user's placeholder; the group keeps its name."""
        return self.model_copy(update={"by": placeholder(user)}) if self.by == user else None

    def purged(self) -> None:
        """Return None: it is not about a message."""
