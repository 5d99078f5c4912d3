"""Kind `members`: who is in the room from here on."""

from collections.abc import Collection
from typing import Any, Literal, Self

from ashchat_chat.rooms.events.base import Event
from ashchat_chat.rooms.identifiers import placeholder
from ashchat_chat.rooms.views import MessageView, RoomView


class Members(Event):
    """The room's members changed: the first event, and when an account was deleted."""

    kind: Literal["members"] = "members"
    members: tuple[str, ...]

    @property
    def about(self) -> None:
        """No message."""

    def payload(self) -> dict[str, Any]:
        """Return the event as protocol 2 has it."""
        return {**self.head(), "members": list(self.members)}

    def visible_to(self, language: str) -> bool:  # noqa: ARG002
        """Return True: it is sent to every reader."""
        return True

    def fold_room(self, view: RoomView) -> RoomView:
        """Return the room with these members."""
        reads = dict(view.reads)
        # A placeholder has read as far as the deleted user.
        for user in set(view.members) - set(self.members):
            if (gone := placeholder(user)) in self.members and user in reads:
                reads[gone] = reads.pop(user)
        return view.model_copy(update={"members": self.members, "reads": reads})

    def fold_message(self, before: MessageView | None) -> MessageView | None:
        """Return the message unchanged."""
        return before

    def erased_for(self, user: str, theirs: Collection[int]) -> Self | None:  # noqa: ARG002
        """Return the event with the user's placeholder."""
        if user not in self.members:
            return None
        gone = placeholder(user)
        members = tuple(gone if member == user else member for member in self.members)
        return self.model_copy(update={"members": members})
