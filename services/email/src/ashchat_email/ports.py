"""Errors of sending mail, and protocols of the adapters that the rules need."""

from collections.abc import Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Literal, Protocol

from ashchat_core.messages import CodeRefusal

DeadReason = Literal["mailbox", "content", "policy", "unsendable"]
"""Why a mail is never delivered: the mailbox does not exist, the server rejects its content or
its sender, or the address cannot be sent to this server."""


class MailError(Exception):
    """A mail was not sent."""


class ServerUnavailableError(MailError):
    """The mail server is unreachable, busy or rejects us; no mail in particular is at fault."""


class TemporaryFailureError(MailError):
    """The server does not accept this mail now (4yz): greylisting, a full mailbox."""


class PermanentFailureError(MailError):
    """The server will never accept this mail (5yz): no such mailbox."""

    def __init__(self, message: str, reason: DeadReason) -> None:
        super().__init__(message)
        self.reason: DeadReason = reason


@dataclass(frozen=True, slots=True)
class Checked:
    """The result of checking a code."""

    refusal: CodeRefusal | None
    payload: str | None


class Pending(Protocol):
    """Stores what waits for its code; see `store.RedisPending`."""

    async def put(
        self, key: str, *, subject: str, digests: Sequence[str], payload: str, at: float
    ) -> bool:
        """Store a pending item for 600 s; False if a newer one is stored, or it was used."""

    async def check(
        self, key: str, *, request_id: str, digests: Sequence[Sequence[str]]
    ) -> Checked:
        """Check codes by their possible digests; a repeated request gets the same answer."""

    async def settle(self, key: str, subject: str) -> None:
        """Mark a pending item as used, and delete its payload; it cannot be stored again."""

    async def was_sent(self, message_id: str) -> bool:
        """Return whether the server has accepted this mail before."""

    async def sent(self, message_id: str) -> None:
        """Record that the server accepted this mail."""


class Sender(Protocol):
    """Hands a mail to the server; see `smtp.Mailer.send`."""

    async def send(self, message: EmailMessage) -> None:
        """Return once the server has accepted the mail.

        Raises:
            MailError: the mail was not sent.
        """
