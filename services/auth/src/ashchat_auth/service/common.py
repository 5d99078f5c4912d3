"""What the flows have in common: the time, limits as errors, asking email about a code."""

from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import uuid4

import structlog

from ashchat_auth.models import NoAnswer
from ashchat_auth.service.ports import Requests
from ashchat_core.errors import APIError, Unavailable
from ashchat_core.messages import CodeRefusal, Message
from ashchat_core.topology import Queue

ANSWER_SECONDS = 5.0
"""How long a person waits for another service's answer."""

REFUSALS = {
    "wrong_code": "the code is not right",
    "expired": "the code has expired or was used; ask for a new one",
    "too_many_tries": "the code was tried too often; ask for a new one",
}

R = TypeVar("R", bound=Message)


async def ask(requests: Requests, queue: Queue, body: Message, answer: type[R], request: str) -> R:
    """Return email's answer about a code.

    Raises:
        APIError: 503, no answer in time.
    """
    try:
        return await requests.ask(queue, body, answer, message_id=request)
    except NoAnswer:
        raise Unavailable("the code could not be checked just now; try again") from None


async def quietly(*steps: Coroutine[Any, Any, object]) -> None:
    """Do what is good to do after a write, but takes nothing back when it fails."""
    for step in steps:
        try:
            await step
        except Exception as error:  # noqa: BLE001 (what was asked for is done)
            structlog.get_logger("after").warning("not done", kind=type(error).__name__)


def now() -> datetime:
    """Return the time; MongoDB keeps milliseconds, and what is compared has to be the same."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def deadline() -> datetime:
    """Return until when an answer is waited for."""
    return datetime.now(UTC) + timedelta(seconds=ANSWER_SECONDS)


def new_id() -> str:
    """Return a random identifier."""
    return uuid4().hex


def unless(wait: int) -> None:
    """Go on if there is nothing to wait for.

    Raises:
        APIError: 429 too_many_requests.
    """
    if wait:
        raise APIError(
            429,
            "too_many_requests",
            f"too many tries; wait {wait} seconds",
            headers={"Retry-After": str(wait)},
        )


def refused(status: int, reason: CodeRefusal) -> APIError:
    """Return the error for a code that email refused."""
    return APIError(status, reason, REFUSALS[reason])


def no_such_user() -> APIError:
    """Return the error for an account that is gone."""
    return APIError(404, "no_such_user", "this account does not exist any more")
