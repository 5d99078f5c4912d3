"""What is folded from a room's log: the room and its messages."""

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict

from ashchat_chat.rooms.identifiers import message_id
from ashchat_core import languages

# An error that shows its input would show a message's text in the log.
CONFIG = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class Role(StrEnum):
    """What a member may do; the members of a direct chat are `member`."""

    OWNER = "owner"
    ADMIN = "admin"
    MEMBER = "member"


class Member(BaseModel):
    """A member of a room."""

    model_config = CONFIG

    role: Role = Role.MEMBER
    joined_rev: int
    """The revision of the event that made the user a member."""
    joined_n: int
    """The number of messages in the room at that time."""


class RoomView(BaseModel):
    """A room as it stands: the fold of its log up to `rev`."""

    model_config = CONFIG

    room: str
    rev: int = 0
    n: int = 0
    """The number of the newest message; messages are numbered from 1 without a gap."""
    members: dict[str, Member] = {}


class Translation(BaseModel):
    """One language of a message."""

    model_config = CONFIG

    outcome: Literal["translated", "unchanged", "failed"]
    text: str | None = None
    text_version: int = 1


class MessageView(BaseModel):
    """A message as it stands: the fold of its events."""

    model_config = CONFIG

    room: str
    rev: int
    n: int
    at: datetime
    sender: str
    client_id: str
    text: str
    language: str
    translations: dict[str, Translation] = {}
    erased: bool = False

    @property
    def id(self) -> str:
        """The message's id."""
        return message_id(self.room, self.rev)

    def text_for(self, language: str) -> str | None:
        """Return the translation for a reader of that language; None if absent."""
        for target, translation in self.translations.items():
            if translation.outcome == "translated" and languages.same(language, target):
                return translation.text
        return None
