"""Errors of the rules of rooms."""


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


class NotNeededError(Exception):
    """The log has moved on, and the event that was to be appended has no place in it any more."""
