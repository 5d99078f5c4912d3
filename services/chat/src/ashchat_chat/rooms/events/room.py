"""Kind `room`: a group's name, picture, description or settings changed."""

from collections.abc import Collection
from typing import Literal, Self

from typing_extensions import TypedDict

from ashchat_chat.pushes import WirePayload
from ashchat_chat.rooms.events.base import Event, Head
from ashchat_chat.rooms.identifiers import placeholder
from ashchat_chat.rooms.views import MessageView, RoomView, Settings

FIELDS = ("name", "picture", "description")


class SettingsPayload(WirePayload):
    """A group's settings."""

    history: Literal["all", "joined"]
    mention_all: Literal["members", "admins"]


class RoomChangesPayload(TypedDict, total=False):
    """What may change of a group."""

    name: str
    picture: str
    description: str
    settings: SettingsPayload


class RoomChangedPayload(RoomChangesPayload, Head):
    """What changed of a group's name, picture, description or settings."""

    kind: Literal["room"]
    by: str


class RoomChanged(Event):
    """A group's appearance or settings changed. A field that is absent does not change."""

    kind: Literal["room"] = "room"
    by: str
    name: str | None = None
    picture: str | None = None
    description: str | None = None
    settings: Settings | None = None

    def payload(self) -> RoomChangedPayload:
        """Return the event as protocol 2 has it."""
        changed: RoomChangesPayload = {}
        if self.name is not None:
            changed["name"] = self.name
        if self.picture is not None:
            changed["picture"] = self.picture
        if self.description is not None:
            changed["description"] = self.description
        if self.settings is not None:
            changed["settings"] = {
                "history": self.settings.history,
                "mention_all": self.settings.mention_all,
            }
        return {**self.head(), "kind": self.kind, "by": self.by, **changed}

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
