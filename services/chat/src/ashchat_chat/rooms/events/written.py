"""What the kinds have in common whose text a user wrote, and which is translated."""

from abc import abstractmethod
from collections.abc import Collection, Iterable
from typing import Annotated, Literal, Self

from pydantic import Field
from typing_extensions import TypedDict

from ashchat_chat.pushes import Ordinal
from ashchat_chat.rooms.events.base import Event, Head
from ashchat_chat.rooms.identifiers import placeholder
from ashchat_core import languages

ALL_MEMBERS = "*"
"""Mentions all members."""


class OptionalPayload(TypedDict, total=False):
    """What the payloads of some texts have."""

    mentions: Annotated[list[str], Field(description="User ids, and * for all.")]
    erased: Annotated[Literal[True], Field(description="The sender's account was deleted.")]


class WrittenPayload(OptionalPayload, Head):
    """What the payloads of these kinds have."""

    message_id: str
    sender_id: str
    mobile_ref_id: str
    content: str
    language: str
    targets: Annotated[
        list[str], Field(description="The languages that a translation was requested for.")
    ]
    text_version: Ordinal


class Written(Event):
    """A user's text. (room, sender, client_id) is unique."""

    sender: str
    client_id: str
    text: str
    language: str
    targets: tuple[str, ...] = ()
    mentions: tuple[str, ...] = ()
    """The members whom the text mentions; `ALL_MEMBERS` for all."""
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

    def written(self) -> WrittenPayload:
        """Return what the payloads of these kinds have."""
        optional: OptionalPayload = {}
        if self.mentions:
            optional["mentions"] = list(self.mentions)
        if self.erased:
            optional["erased"] = True
        return {
            **self.head(),
            "message_id": self.message_id,
            "sender_id": self.sender,
            "mobile_ref_id": self.client_id,
            "content": self.text,
            "language": self.language,
            "targets": list(self.targets),
            "text_version": self.text_version,
            **optional,
        }

    def visible_to(self, language: str) -> bool:  # noqa: ARG002
        """Return True: it is sent to every reader, whatever the language."""
        return True

    def purged(self) -> Self:
        """Return the event without its text and what belongs to it."""
        nothing = {"text": "", "language": languages.UNKNOWN, "targets": (), "mentions": ()}
        return self.model_copy(update=nothing)

    def erased_for(self, user: str, theirs: Collection[int]) -> Self | None:  # noqa: ARG002
        """Return the user's event without sender and text, others' without the mention."""
        if self.sender == user:
            return self.erased_with(user)
        if user in self.mentions:
            return self.model_copy(update={"mentions": renamed(self.mentions, user)})
        return None

    def erased_with(self, user: str) -> Self:
        """Return the user's event without sender, text and languages."""
        return self.purged().model_copy(update={"sender": placeholder(user), "erased": True})


def renamed(users: Iterable[str], user: str) -> tuple[str, ...]:
    """Return users with the placeholder of one whose account was deleted."""
    return tuple(placeholder(user) if one == user else one for one in users)
