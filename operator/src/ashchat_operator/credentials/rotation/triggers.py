"""When a rotation begins: by a token in an annotation, or by the schedule. Pure.

AshChats with the same schedule do not begin at the same time: each has its own offset within the
window, or begins up to a tenth of the interval earlier, by its uid.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from ashchat_core.api.names import Annotation
from ashchat_operator.credentials.rotation.machine import RotationState
from ashchat_operator.resource.model import Rotation, Window

TOKEN_MAX_CHARS: Final = 256
EARLIER: Final = 0.1
"""The fraction of the interval by which a rotation may come earlier, without windows."""

_DURATION: Final = re.compile(r"(?:([0-9]+)h)?(?:([0-9]+)m)?")


def tokens(annotations: Mapping[str, str], kind: str) -> tuple[str, ...]:
    """Return the tokens that request a rotation of a kind."""
    found = (
        annotations.get(name, "") for name in (Annotation.ROTATE, f"{Annotation.ROTATE}-{kind}")
    )
    return tuple(token[:TOKEN_MAX_CHARS] for token in found if token)


def requested(state: RotationState, wanted: Sequence[str]) -> bool:
    """Return whether there is a token that no rotation has handled."""
    return not set(wanted) <= set(state.handled_tokens)


def due(
    rotation: Rotation, state: RotationState, *, created: datetime, uid: str, now: datetime
) -> bool:
    """Return whether a scheduled rotation is due now.

    Args:
        rotation: The schedule.
        state: The state of the kind, which has the time of its last rotation.
        created: When the resource was created, for credentials that never rotated.
        uid: The uid of the resource.
        now: The time, in UTC.
    """
    if rotation.interval is None:
        return False
    period = duration(rotation.interval)
    last = datetime.fromisoformat(state.last_rotation_time) if state.last_rotation_time else created
    place = _place(uid, state.name)
    if not rotation.windows:
        return now >= last + period * (1 - EARLIER * place)
    return now >= last + period and any(_open(each, place, now) for each in rotation.windows)


def _open(window: Window, place: float, now: datetime) -> bool:
    """Return whether the window is open for a resource with this offset in its first half."""
    hour, minute = map(int, window.start.split(":"))
    length = duration(window.duration)
    for day in (now, now - timedelta(days=1)):
        begins = day.replace(hour=hour, minute=minute, second=0, microsecond=0)
        if window.days and begins.strftime("%A") not in {each.value for each in window.days}:
            continue
        if begins + length / 2 * place <= now < begins + length:
            return True
    return False


def duration(text: str) -> timedelta:
    """Return the duration of a text such as "720h", "90m" or "1h30m".

    Raises:
        ValueError: It is not a valid duration.
    """
    match = _DURATION.fullmatch(text)
    if match is None or not text:
        raise ValueError(f"not a duration in hours and minutes: {text}")
    return timedelta(hours=int(match[1] or 0), minutes=int(match[2] or 0))


def _place(uid: str, kind: str) -> float:
    """Return a number from 0 to 1 that is constant for this resource and kind."""
    return hashlib.sha256(f"{uid}:{kind}".encode()).digest()[0] / 256
