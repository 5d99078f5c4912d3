"""Kind `message`: a message was sent."""

from collections.abc import Collection
from typing import Any, Literal, Self

from pydantic import Field

from ashchat_chat.rooms.events.base import Event
from ashchat_chat.rooms.identifiers import message_id, placeholder
from ashchat_chat.rooms.views import MessageView, RoomView
from ashchat_core import languages

ALL_MEMBERS = "*"
"""Mentions all members."""


class Sent(Event):
    """A message was sent. (room, sender, client_id) is unique."""

    kind: Literal["message"] = "message"
    n: int = Field(ge=1)
    """The message's number in the room, from 1 without a gap."""
    sender: str
    client_id: str
    text: str
    language: str
    targets: tuple[str, ...] = ()
    reply_to: int | None = None
    """The revision of the message that this one answers."""
    mentions: tuple[str, ...] = ()
    """The mentioned members; `ALL_MEMBERS` for all."""
    erased: bool | None = None
    """True: the sender's account was deleted, and with it what they wrote."""

    @property
    def message_rev(self) -> int:
        """Itself."""
        return self.rev

    @property
    def message_id(self) -> str:
        """The message's id: unique, and contains its place in the log."""
        return message_id(self.room, self.rev)

    @property
    def text_version(self) -> int:
        """The version of the message's text: 1, the original."""
        return 1

    def payload(self) -> dict[str, Any]:
        """Return the event as protocol 2 has it."""
        return {
            **self.head(),
            "n": self.n,
            "message_id": self.message_id,
            "sender_id": self.sender,
            "mobile_ref_id": self.client_id,
            "content": self.text,
            "language": self.language,
            "targets": list(self.targets),
            "text_version": self.text_version,
            **({"reply_to": message_id(self.room, self.reply_to)} if self.reply_to else {}),
            **({"mentions": list(self.mentions)} if self.mentions else {}),
            **({"erased": True} if self.erased else {}),
        }

    def visible_to(self, language: str) -> bool:  # noqa: ARG002
        """Return True: it is sent to every reader, whatever the language."""
        return True

    def fold_room(self, view: RoomView) -> RoomView:
        """Return the room with one message more."""
        return view.model_copy(update={"n": self.n})

    def fold_message(self, before: MessageView | None) -> MessageView | None:
        """Return the message as it was sent, unless later events are folded into it already."""
        if before is not None:
            return before
        return MessageView(
            room=self.room,
            rev=self.rev,
            n=self.n,
            at=self.at,
            sender=self.sender,
            client_id=self.client_id,
            text=self.text,
            language=self.language,
            reply_to=self.reply_to,
            mentions=self.mentions,
            erased=bool(self.erased),
        )

    def erased_for(self, user: str, theirs: Collection[int]) -> Self | None:  # noqa: ARG002
        """Return the user's message without sender and text, others' without the mention."""
        gone = placeholder(user)
        if self.sender == user:
            return self.purged().model_copy(update={"sender": gone, "erased": True})
        if user in self.mentions:
            mentions = tuple(gone if one == user else one for one in self.mentions)
            return self.model_copy(update={"mentions": mentions})
        return None

    def purged(self) -> Self:
        """Return the message without its text and what belongs to it."""
        return self.model_copy(
            update={
                "text": "",
                "language": languages.UNKNOWN,
                "targets": (),
                "reply_to": None,
                "mentions": (),
            }
        )
