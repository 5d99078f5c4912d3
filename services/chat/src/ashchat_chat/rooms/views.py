"""What is folded from a room's log: the room and its messages."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from ashchat_chat.rooms.identifiers import message_id
from ashchat_core import languages

# An error that shows its input would show a message's text in the log.
CONFIG = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


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


class RoomView(BaseModel):
    """A room as it stands: the fold of its log up to `rev`."""

    model_config = CONFIG

    room: str
    rev: int = 0
    members: tuple[str, ...] = ()
    reads: dict[str, int] = {}

    def read_by_others(self, user: str) -> int:
        """Return up to where all other members of the room have read."""
        others = [self.reads.get(member, 0) for member in self.members if member != user]
        return min(others, default=0)
