"""Kind `edit`: a message has another text."""

from collections.abc import Collection
from typing import Literal, Self

from ashchat_chat.pushes import Ordinal
from ashchat_chat.rooms.events.written import Written, WrittenPayload, renamed
from ashchat_chat.rooms.identifiers import message_id
from ashchat_chat.rooms.views import MessageView, RoomView


class EditedPayload(WrittenPayload):
    """A message has this text from here on."""

    kind: Literal["edit"]
    message_rev: Ordinal


class Edited(Written):
    """The sender of a message changed its text."""

    kind: Literal["edit"] = "edit"
    about: int
    """The revision of the edited message."""
    number: int
    """The number of the edited message."""
    no_longer_mentioned: tuple[str, ...] = ()
    """Whom the message mentioned until this edit; with it, mentions are counted by one query."""

    @property
    def message_id(self) -> str:
        """The id of the edited message."""
        return message_id(self.room, self.about)

    @property
    def text_version(self) -> int:
        """The version of the message's text: the revision of the edit, 1 is the original."""
        return self.rev

    def payload(self) -> EditedPayload:
        """Return the event as protocol 2 has it."""
        return {**self.written(), "kind": self.kind, "message_rev": self.about}

    def fold_room(self, view: RoomView) -> RoomView:
        """Return the room unchanged."""
        return view

    def fold_message(self, before: MessageView | None) -> MessageView | None:
        """Return the message with this text and its mentions; it is not translated yet."""
        if before is None or before.gone or before.text_version >= self.text_version:
            return before
        return before.model_copy(
            update={
                "text": self.text,
                "language": self.language,
                "text_version": self.text_version,
                "edited_at": self.at,
                "mentions": self.mentions,
                "translations": {},
            }
        )

    def erased_for(self, user: str, theirs: Collection[int]) -> Self | None:
        """Return the user's edit without sender and text, others' without the mention."""
        erased = super().erased_for(user, theirs)
        if user not in self.no_longer_mentioned or self.sender == user:
            return erased
        users = renamed(self.no_longer_mentioned, user)
        return (erased or self).model_copy(update={"no_longer_mentioned": users})

    def purged(self) -> Self:
        """Return the edit without its text and what belongs to it."""
        return super().purged().model_copy(update={"no_longer_mentioned": ()})
