"""Dead letters: what one consists of, and how much of it is shown. Pure.

A body is private: it may contain a message's text, an address, a code or a hash. Unless the body is
requested, only fields that reveal nothing about a user are shown, from a list of harmless fields: a
field that a later version adds is hidden until it is added to the list.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import ValidationError

from ashchat_core import messages
from ashchat_core.topology import DEAD_LETTER_SUFFIX, QUEUES, SPECS, Queue, QueueSpec

HARMLESS: Final = frozenset(
    {
        *("v", "kind", "event", "outcome", "reason", "refusal", "provider"),
        *("room", "message", "user_id", "request_id", "sign_up_id", "challenge_id", "reset_id"),
        *("change_id", "notice_id", "session_ids", "text_version", "source", "target", "targets"),
        *("preferred_language", "requested_at", "deadline", "at"),
    }
)
"""Fields that are shown: what kind of message it is, ids that name nobody, languages, times."""

HIDDEN: Final = "(hidden)"


MADE_ON_THE_WAY: Final = (
    *("x-death", "x-first-death-", "x-last-death-"),
    *("x-delivery-count", "x-acquired-count", "x-ashchat-attempts"),
)
"""Prefixes of the headers that record earlier deliveries, which a replay leaves out."""

WHY: Final[Mapping[str, str]] = {
    "rejected": "its reader gave it up",
    "delivery_limit": "it was delivered too often without an acknowledgement",
    "expired": "its time was over",
    "maxlen": "the queue was full",
}


def spec_of(name: str) -> QueueSpec | None:
    """Return the queue of this name, or of this dead-letter queue's name."""
    wanted = name.upper().removesuffix(DEAD_LETTER_SUFFIX.upper())
    wanted = wanted if wanted.endswith("_QUEUE") else f"{wanted}_QUEUE"
    return next((spec for spec in QUEUES if spec.name.value == wanted), None)


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter, as it was read."""

    queue: Queue
    position: int
    """From 1, the oldest."""
    message_id: str
    headers: Mapping[str, Any]
    body: bytes = field(repr=False)

    @property
    def death(self) -> Mapping[str, Any]:
        """Return the broker's record of why it was dead-lettered; empty: there is no record."""
        for entry in self.headers.get("x-death") or ():
            if entry.get("queue") == self.queue.value:
                found: Mapping[str, Any] = entry
                return found
        return {}

    @property
    def reason(self) -> str:
        """Return the broker's reason."""
        return str(self.death.get("reason", "unknown"))

    @property
    def died(self) -> str:
        """Return when it was dead-lettered (RFC 3339, UTC); empty: unknown."""
        time = self.death.get("time")
        if not isinstance(time, datetime):
            return ""
        return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def data(self, *, whole: bool = False) -> dict[str, Any]:
        """Return the data to show.

        Args:
            whole: The body as it is, too.
        """
        fields, problem = _fields(SPECS[self.queue].body, self.body)
        result: dict[str, Any] = {
            "position": self.position,
            "id": self.message_id,
            "reason": self.reason,
            "why": WHY.get(self.reason, ""),
            "died": self.died,
            "attempts": self.headers.get("x-ashchat-attempts", 0),
            "type": SPECS[self.queue].body.__name__,
            "bytes": len(self.body),
            "fields": fields,
        }
        if problem:
            result["problem"] = problem
        if whole:
            result["body"] = self.body.decode(errors="backslashreplace")
        return result


def _fields(model: type[messages.Message], body: bytes) -> tuple[dict[str, Any], str]:
    """Return the harmless fields, and what is wrong with the body (never the body itself)."""
    try:
        read = model.model_validate_json(body).model_dump(mode="json", exclude_none=True)
    except ValidationError as error:
        places = sorted({".".join(map(str, item["loc"])) or "body" for item in error.errors()})
        # The fields of an invalid body are not shown, because they may hold anything.
        names = _names(body)
        return dict.fromkeys(names, HIDDEN), f"not valid: {', '.join(places)}"
    return {key: value if key in HARMLESS else HIDDEN for key, value in read.items()}, ""


def _names(body: bytes) -> list[str]:
    """Return the fields of a body that are known by name; a key may be private as well."""
    try:
        read = json.loads(body)
    except ValueError:
        return []
    known = {name for spec in QUEUES for name in spec.body.model_fields}
    return [name for name in read if name in known] if isinstance(read, dict) else []


def headers_anew(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Return the headers of a message without those of earlier deliveries."""
    return {key: value for key, value in headers.items() if not key.startswith(MADE_ON_THE_WAY)}
