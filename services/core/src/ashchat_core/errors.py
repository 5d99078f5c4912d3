"""Errors that the rules of a service may raise, without importing an I/O library.

`deliveries` and `http` define the effect of each.
"""

from typing import Any, Final

RETRY_AFTER_SECONDS: Final = 2
"""Retry-After of a 503: backends restart within seconds."""


class BrokerUnavailableError(Exception):
    """The broker is unavailable or did not confirm in time; the message may have arrived."""


class PublishError(Exception):
    """The broker rejected the message, or no queue is bound to its routing key."""


class RetryError(Exception):
    """Raised by a handler: this message failed for its own reason; retry it later."""


class RejectError(Exception):
    """Raised by a handler: this message can never succeed; dead-letter it."""


class DependencyDownError(Exception):
    """Raised by a handler: a dependency is unavailable; hold the message and back off."""


class APIError(Exception):
    """An error response.

    `data` and `headers` are sent to the client unchanged.
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


class UnavailableError(APIError):
    """503: a dependency is unavailable; the same request will succeed shortly."""

    def __init__(self, message: str = "A part of the platform is unavailable; try again.") -> None:
        super().__init__(
            503, "unavailable", message, headers={"Retry-After": str(RETRY_AFTER_SECONDS)}
        )


def too_many_requests(wait_seconds: int) -> APIError:
    """Return the error for a request that a limit refuses."""
    return APIError(
        429,
        "too_many_requests",
        f"Too many attempts; wait {wait_seconds} second{'' if wait_seconds == 1 else 's'}.",
        headers={"Retry-After": str(wait_seconds)},
    )
