"""An event of a kind that this version does not know."""

from collections.abc import Collection
from typing import Any, Literal, Self

from ashchat_chat.rooms.events.base import Event
from ashchat_chat.rooms.views import MessageView, RoomView


class Opaque(Event):
    """An event that this version cannot read: a newer one wrote it, while pods are replaced.

    It holds its place in the order, so that later events are not delayed. It is never written.
    """

    kind: Literal["opaque"] = "opaque"

    def payload(self) -> dict[str, Any]:
        """Return the event's place."""
        return {**self.head(), "kind": self.kind}

    def visible_to(self, language: str) -> bool:  # noqa: ARG002
        """Return False: unknown events are not sent."""
        return False

    def fold_room(self, view: RoomView) -> RoomView:
        """Return the room unchanged."""
        return view

    def fold_message(self, before: MessageView | None) -> MessageView | None:
        """Return the message unchanged."""
        return before

    def erased_for(self, user: str, theirs: Collection[int]) -> Self | None:  # noqa: ARG002
        """Return None: the version that wrote it erases it."""
        return None

    def purged(self) -> None:
        """Return None: it is not about a message."""
