"""Kind `message`: a message was sent."""

from typing import Annotated, Literal, Self

from pydantic import Field
from typing_extensions import TypedDict

from ashchat_chat.pushes import Ordinal
from ashchat_chat.rooms.events.written import Written, WrittenPayload
from ashchat_chat.rooms.identifiers import message_id
from ashchat_chat.rooms.views import MessageView, RoomView


class ReferencesPayload(TypedDict, total=False):
    """What a message refers to."""

    reply_to: Annotated[str, Field(description="A message's id.")]


class SentPayload(ReferencesPayload, WrittenPayload):
    """A message was sent."""

    kind: Literal["message"]
    n: Ordinal


class Sent(Written):
    """A message was sent."""

    kind: Literal["message"] = "message"
    n: int = Field(ge=1)
    """The message's number in the room, from 1 without a gap."""
    reply_to: int | None = None
    """The revision of the message that this one answers."""

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

    def payload(self) -> SentPayload:
        """Return the event as protocol 2 has it."""
        references: ReferencesPayload = {}
        if self.reply_to:
            references["reply_to"] = message_id(self.room, self.reply_to)
        return {**self.written(), "kind": self.kind, "n": self.n, **references}

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

    def purged(self) -> Self:
        """Return the message without its text and what belongs to it."""
        return super().purged().model_copy(update={"reply_to": None})
