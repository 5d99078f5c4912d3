"""What the kinds have in common whose text a user wrote, and which is translated."""

from abc import abstractmethod
from typing import Any, Self

from ashchat_chat.rooms.events.base import Event
from ashchat_chat.rooms.identifiers import placeholder
from ashchat_core import languages


class Written(Event):
    """A user's text. (room, sender, client_id) is unique."""

    sender: str
    client_id: str
    text: str
    language: str
    targets: tuple[str, ...] = ()
    erased: bool | None = None
    """True: the sender's account was deleted, and with it what they wrote."""

    @property
    @abstractmethod
    def message_id(self) -> str:
        """The id of the message that has this text."""

    @property
    @abstractmethod
    def text_version(self) -> int:
        """The version of the message's text: 1 is the original, then the revision of an edit."""

    def written(self) -> dict[str, Any]:
        """Return what the payloads of these kinds have."""
        return {
            **self.head(),
            "message_id": self.message_id,
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

    def purged(self) -> Self:
        """Return the event without its text."""
        return self.model_copy(update={"text": "", "language": languages.UNKNOWN, "targets": ()})

    def erased_with(self, user: str) -> Self:
        """Return the user's event without sender, text and languages."""
        return self.purged().model_copy(update={"sender": placeholder(user), "erased": True})
