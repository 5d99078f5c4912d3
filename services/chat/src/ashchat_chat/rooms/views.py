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


class Settings(BaseModel):
    """What the owner and the admins of a group decide."""

    model_config = CONFIG

    history: Literal["all", "joined"] = "all"
    """Which messages a member sees: all, or those since the member joined."""
    mention_all: Literal["members", "admins"] = "admins"
    """Who may mention all members at once."""


class RoomView(BaseModel):
    """A room as it stands: the fold of its log up to `rev`."""

    model_config = CONFIG

    room: str
    rev: int = 0
    n: int = 0
    """The number of the newest message; messages are numbered from 1 without a gap."""
    members: dict[str, Member] = {}
    kind: Literal["direct", "group"] = "direct"
    name: str = ""
    picture: str = ""
    description: str = ""
    settings: Settings = Settings()

    def visible_from(self, user: str) -> tuple[int, int]:
        """Return the revision and the number of a message from which on a member sees the room."""
        member = self.members.get(user)
        if member is None or self.settings.history == "all":
            return 1, 1
        return member.joined_rev, member.joined_n + 1

    def shows(self, user: str, message_rev: int | None) -> bool:
        """Return whether a member sees a message, and so the events about it."""
        return message_rev is None or message_rev >= self.visible_from(user)[0]

    def manages(self, user: str) -> bool:
        """Return whether a user is the owner or an admin."""
        member = self.members.get(user)
        return member is not None and member.role in {Role.OWNER, Role.ADMIN}

    def lets_mention_all(self, user: str) -> bool:
        """Return whether a user may mention all members at once."""
        return self.settings.mention_all == "members" or self.manages(user)


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
    text_version: int = 1
    edited_at: datetime | None = None
    reply_to: int | None = None
    """The revision of the message that this one answers."""
    mentions: tuple[str, ...] = ()
    translations: dict[str, Translation] = {}
    reactions: dict[str, tuple[str, ...]] = {}
    """The users who reacted, by emoji."""
    deleted: bool = False
    """It was deleted for all members."""
    erased: bool = False
    """Its sender's account was deleted."""

    @property
    def gone(self) -> bool:
        """Whether nothing of the message may be shown any more."""
        return self.deleted or self.erased

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
