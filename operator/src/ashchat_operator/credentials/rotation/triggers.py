"""When a rotation begins: at a stamp in an annotation, or by the schedule. Pure.

Many AshChats with one schedule do not begin at once: each has its own place within the
window, or up to a tenth of the period earlier, by its uid.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from ashchat_core.api.names import Annotation
from ashchat_operator.credentials.rotation.machine import RotationState
from ashchat_operator.resource.model import Rotation, Window

STAMP_MAX: Final = 256
EARLIER: Final = 0.1
"""The part of a period by which a rotation may come earlier, where there are no windows."""

_DURATION: Final = re.compile(r"(?:([0-9]+)h)?(?:([0-9]+)m)?")


def stamps(annotations: Mapping[str, str], kind: str) -> tuple[str, ...]:
    """Return the stamps that ask a kind to rotate."""
    found = (
        annotations.get(name, "") for name in (Annotation.ROTATE, f"{Annotation.ROTATE}-{kind}")
    )
    return tuple(stamp[:STAMP_MAX] for stamp in found if stamp)


def asked(state: RotationState, wanted: Sequence[str]) -> bool:
    """Tell whether there is a stamp that no rotation has answered."""
    return not set(wanted) <= set(state.handled_tokens)


def due(
    rotation: Rotation, state: RotationState, *, created: datetime, uid: str, now: datetime
) -> bool:
    """Tell whether the schedule wants a rotation to begin now.

    Args:
        rotation: The schedule.
        state: Of the kind; its last rotation counts.
        created: When the resource was made, for what never rotated.
        uid: Of the resource.
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
    """Tell whether a window is open, for whom has this place in its first half."""
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
    """Return the time that "720h", "90m" or "1h30m" means.

    Raises:
        ValueError: It is none of these.
    """
    match = _DURATION.fullmatch(text)
    if match is None or not text:
        raise ValueError(f"not a duration in hours and minutes: {text}")
    return timedelta(hours=int(match[1] or 0), minutes=int(match[2] or 0))


def _place(uid: str, kind: str) -> float:
    """Return a number from 0 to 1 that is always the same for this resource and kind."""
    return hashlib.sha256(f"{uid}:{kind}".encode()).digest()[0] / 256
