"""What the rules of a service may raise; no I/O library is needed to do so.

`amqp` and `http` say what becomes of each.
"""

from typing import Any

RETRY_AFTER_SECONDS = 2
"""When to come back after a 503: backends restart in seconds."""


class BrokerUnavailable(Exception):
    """The broker is away, or did not confirm in time; the message may or may not be there."""


class PublishError(Exception):
    """The broker refused the message, or no queue is bound where it went."""


class Retry(Exception):
    """A handler's word: this message failed for a reason of its own; later."""


class Reject(Exception):
    """A handler's word: this message can never succeed; to the dead letters."""


class DependencyDown(Exception):
    """A handler's word: something we need is away; hold the message and back off."""


class APIError(Exception):
    """An answer that is not a success.

    `data` goes to the client as it is; `headers` too.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        message: str,
        *,
        data: Any = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.data = data
        self.headers = headers or {}


class Unavailable(APIError):
    """503: something this needs is away; the same request is right in a moment."""

    def __init__(self, message: str = "a part of the platform is restarting; try again") -> None:
        super().__init__(
            503, "unavailable", message, headers={"Retry-After": str(RETRY_AFTER_SECONDS)}
        )
