"""Kind `edit`: a message has another text."""

from collections.abc import Collection
from typing import Any, Literal, Self

from ashchat_chat.rooms.events.base import Event
from ashchat_chat.rooms.identifiers import message_id, placeholder
from ashchat_chat.rooms.views import MessageView, RoomView
from ashchat_core import languages


class Edited(Event):
    """The sender of a message changed its text. (room, sender, client_id) is unique."""

    kind: Literal["edit"] = "edit"
    about: int
    """The revision of the edited message."""
    sender: str
    client_id: str
    text: str
    language: str
    targets: tuple[str, ...] = ()
    erased: bool | None = None
    """True: the sender's account was deleted, and with it what they wrote."""

    @property
    def message_id(self) -> str:
        """The id of the edited message."""
        return message_id(self.room, self.about)

    @property
    def text_version(self) -> int:
        """The version of the message's text: the revision of the edit, 1 is the original."""
        return self.rev

    def payload(self) -> dict[str, Any]:
        """Return the event as protocol 2 has it."""
        return {
            **self.head(),
            "message_id": self.message_id,
            "message_rev": self.about,
            "sender_id": self.sender,
            "mobile_ref_id": self.client_id,
            "content": self.text,
            "language": self.language,
            "targets": list(self.targets),
            "text_version": self.text_version,
            **({"erased": True} if self.erased else {}),
        }

    def visible_to(self, language: str) -> bool:  # noqa: ARG002
        """Return True: it is sent to every reader, whatever the language."""
        return True

    def fold_room(self, view: RoomView) -> RoomView:
        """Return the room unchanged."""
        return view

    def fold_message(self, before: MessageView | None) -> MessageView | None:
        """Return the message with this text, which is not translated yet."""
        if before is None or before.gone or before.text_version >= self.text_version:
            return before
        return before.model_copy(
            update={
                "text": self.text,
                "language": self.language,
                "text_version": self.text_version,
                "edited_at": self.at,
                "translations": {},
            }
        )

    def erased_for(self, user: str, theirs: Collection[int]) -> Self | None:  # noqa: ARG002
        """Return the user's edit without sender, text and languages."""
        if self.sender != user:
            return None
        return self.purged().model_copy(update={"sender": placeholder(user), "erased": True})

    def purged(self) -> Self:
        """Return the edit without its text."""
        return self.model_copy(update={"text": "", "language": languages.UNKNOWN, "targets": ()})
