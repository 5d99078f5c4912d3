"""Errors of the rules of rooms."""

from enum import StrEnum
from typing import Any


class NoSuchRoomError(Exception):
    """The room does not exist, or the user is not in it; callers cannot distinguish these."""


class NoSuchMessageError(Exception):
    """The message is not in the log."""


class NoSuchUserError(Exception):
    """No user has this id or tag."""


class ReceiverDeletedError(Exception):
    """The other user has deleted the account."""


class SelfChatError(Exception):
    """A chat with oneself."""


class ChatExistsError(Exception):
    """The two users have a chat already."""

    def __init__(self, room: str) -> None:
        super().__init__(room)
        self.room = room


class Reason(StrEnum):
    """Why a rule refuses something."""

    NOT_ALLOWED = "not_allowed"
    NOT_A_GROUP = "not_a_group"
    NOT_A_MEMBER = "not_a_member"
    TOO_MANY_MEMBERS = "too_many_members"
    OWNER_MUST_TRANSFER = "owner_must_transfer"
    NO_SUCH_MESSAGE = "no_such_message"
    MESSAGE_DELETED = "message_deleted"
    TOO_MANY_EDITS = "too_many_edits"
    TOO_MANY_MENTIONS = "too_many_mentions"
    MENTION_ALL_NOT_ALLOWED = "mention_all_not_allowed"
    TOO_MANY_REACTIONS = "too_many_reactions"
    ID_TAKEN = "id_taken"
    """The client's own id names something else that the same user did in the room."""
    NOTHING_FAILED = "nothing_failed"
    TEXT_QUOTA_EXCEEDED = "text_quota_exceeded"


class RefusedError(Exception):
    """A rule refuses what a user asked for."""

    def __init__(self, reason: Reason, **details: Any) -> None:
        super().__init__(reason)
        self.reason = reason
        self.details = details


class NotNeededError(Exception):
    """The log has moved on, and the event that was to be appended has no place in it any more."""
