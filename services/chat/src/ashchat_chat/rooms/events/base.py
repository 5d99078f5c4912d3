"""What every kind of event has."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any, Self

from pydantic import BaseModel, Field, field_validator

from ashchat_chat.pushes import Ordinal, Timestamp, WirePayload
from ashchat_chat.rooms.identifiers import timestamp
from ashchat_chat.rooms.views import CONFIG, MessageView, RoomView

ERASED = "erased"
"""The reason of a translation whose message was erased with its sender's account."""


PURGED = "deleted"
"""The reason of a translation whose message was deleted for all."""


class Head(WirePayload):
    """What the payloads of all kinds have, apart from `kind`."""

    rev: Ordinal
    at: Timestamp


class AboutMessage(Head):
    """What the payloads of kinds about an earlier message have."""

    message_id: str
    message_rev: Ordinal


class Event(BaseModel, ABC):
    """An event of a room's log: at revision `rev`, at a time."""

    model_config = CONFIG

    room: str
    rev: int = Field(ge=1)
    at: datetime

    @field_validator("at")
    @classmethod
    def _milliseconds(cls, at: datetime) -> datetime:
        # MongoDB stores milliseconds: what was written and what is read back must be equal.
        at = at.astimezone(UTC)
        return at.replace(microsecond=at.microsecond // 1000 * 1000)

    @property
    def message_rev(self) -> int | None:
        """The revision of the message that this event creates or changes; None: of none.

        Kinds that refer to an earlier message store its revision as `about`.
        """
        return getattr(self, "about", None)

    @abstractmethod
    def payload(self) -> Mapping[str, Any]:
        """Return the event as protocol 2 has it: each kind a TypedDict, which is its schema."""

    @abstractmethod
    def visible_to(self, language: str) -> bool:
        """Return whether the event is sent to readers of a language."""

    @abstractmethod
    def fold_room(self, view: RoomView) -> RoomView:
        """Return the room after this event, apart from `rev`."""

    @abstractmethod
    def fold_message(self, before: MessageView | None) -> MessageView | None:
        """Return the message `about` after this event; None while it is not known."""

    @abstractmethod
    def erased_for(self, user: str, theirs: Collection[int]) -> Self | None:
        """Return the event without a deleted user; None if nothing of that user is in it.

        What stays is what the others' room needs to hold together: that there was a message,
        when, and its sender's own id of it. `theirs` are the revisions of the user's messages.
        """

    @abstractmethod
    def purged(self) -> Self | None:
        """Return the event without text, because its message was deleted; None: it has none."""

    def head(self) -> Head:
        """Return what the payloads of all kinds have, apart from `kind`."""
        return {"rev": self.rev, "at": timestamp(self.at)}
