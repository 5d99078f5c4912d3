"""Shared by the flows: the time, limits as errors, asking the email service about a code."""

from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar
from uuid import uuid4

import structlog

from ashchat_auth.models import NoAnswerError
from ashchat_auth.service.ports import Requests
from ashchat_core.errors import APIError, UnavailableError, too_many_requests
from ashchat_core.messages import CodeRefusal, Message
from ashchat_core.topology import Queue

ANSWER_SECONDS: Final = 5.0
"""How long a request waits for another service's answer."""

REFUSALS: Final = {
    "wrong_code": "The code is not right.",
    "expired": "The code has expired or was used: request a new one.",
    "too_many_tries": "The code was tried too often: request a new one.",
}

R = TypeVar("R", bound=Message)


async def ask(requests: Requests, queue: Queue, body: Message, answer: type[R], request: str) -> R:
    """Return the email service's answer about a code.

    Raises:
        APIError: 503 if there is no answer in time.
    """
    try:
        return await requests.ask(queue, body, answer, message_id=request)
    except NoAnswerError:
        raise UnavailableError("The code cannot be checked at the moment; try again.") from None


async def quietly(*steps: Coroutine[Any, Any, object]) -> None:
    """Run optional steps after a write; a failure is logged and undoes nothing."""
    for step in steps:
        try:
            await step
        except Exception as error:  # noqa: BLE001 (the request itself succeeded)
            structlog.get_logger("after").warning(
                "an optional step failed", kind=type(error).__name__
            )


def now() -> datetime:
    """Return the time in milliseconds, as MongoDB stores it, so that times compare equal."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def deadline() -> datetime:
    """Return when the wait for an answer ends."""
    return datetime.now(UTC) + timedelta(seconds=ANSWER_SECONDS)


def new_id() -> str:
    """Return a random identifier."""
    return uuid4().hex


def raise_if_limited(wait: int) -> None:
    """Raise an error if a limit applies.

    Args:
        wait: Seconds until the next attempt is allowed; 0: now.

    Raises:
        APIError: 429 too_many_requests.
    """
    if wait:
        raise too_many_requests(wait)


def refused(status: int, reason: CodeRefusal) -> APIError:
    """Return the error for a code that the email service rejected."""
    return APIError(status, reason, REFUSALS[reason])


def changed_meanwhile() -> APIError:
    """Return the error for an account that another request has changed."""
    return APIError(
        409,
        "changed_meanwhile",
        "The account was changed by another request: read it again and retry.",
    )


def no_such_user() -> APIError:
    """Return the error for a deleted account."""
    return APIError(404, "no_such_user", "This account no longer exists.")
