"""How much text an account may store per day, on all pods.

Counting every message in Redis would cost a round trip for each. So a pod takes an allowance in
blocks and charges messages to it, and returns what is left when the user is idle. A pod that dies
takes at most one block of each of its users along.
"""

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Final

from ashchat_chat.clock import monotonic
from ashchat_core.admission.rules import Bucket, Limiter, Rate

LIMIT: Final = "text.account"
DAY_SECONDS: Final = 24 * 3600.0

BLOCKS_PER_DAY: Final = 500
"""How many blocks are an account's text of a day: 20,000 characters by default."""

IDLE_SECONDS: Final = 600.0
"""After how long without a message an allowance is returned."""

SWEEP_SECONDS: Final = 60.0
RETURNED_AT_ONCE: Final = 500
CLOSE_SECONDS: Final = 2.0


@dataclass(slots=True)
class _Allowance:
    """What this pod may still store for an account, in characters; negative: a debt."""

    chars: float = 0.0
    used_at: float = 0.0


class TextAllowances:
    """Charges stored text to accounts.

    Args:
        limiter: Where the text of all pods is counted.
        chars_per_day: Maximum characters that an account stores per day.
    """

    def __init__(self, limiter: Limiter, *, chars_per_day: float) -> None:
        self._limiter = limiter
        self._rate = Rate(chars_per_day, DAY_SECONDS)
        self._block = chars_per_day / BLOCKS_PER_DAY
        self._allowances: dict[str, _Allowance] = {}

    async def charge(self, user: str, chars: int) -> int:
        """Charge a text to an account; return the seconds until there is room, or 0."""
        allowance = self._allowances.setdefault(user, _Allowance())
        allowance.used_at = monotonic()
        missing = chars - allowance.chars
        if missing > 0:
            block = max(self._block, missing)
            if not await self._limiter.has_room([self._bucket(user, block)]):
                block = missing
                if wait := await self._limiter.take([self._bucket(user, block)]):
                    return wait
            allowance.chars += block
        # Others may have used it meanwhile; then the next one takes more.
        allowance.chars -= chars
        return 0

    def give_back(self, user: str, chars: int) -> None:
        """Undo a charge: the text was not stored."""
        self._allowances.setdefault(user, _Allowance(used_at=monotonic())).chars += chars

    async def run(self) -> None:
        """Return the allowances of idle users; until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            await self.return_unused(before=monotonic() - IDLE_SECONDS)

    async def close(self) -> None:
        """Return all allowances, if it takes but a moment: this pod ends."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.return_unused(before=monotonic())

    async def return_unused(self, *, before: float) -> None:
        """Return the allowances that were last used before a moment."""
        idle = {user: one for user, one in self._allowances.items() if one.used_at <= before}
        for user in idle:
            del self._allowances[user]
        buckets = [self._bucket(user, one.chars) for user, one in idle.items() if one.chars > 0]
        for start in range(0, len(buckets), RETURNED_AT_ONCE):
            await self._limiter.give_back(buckets[start : start + RETURNED_AT_ONCE])

    def _bucket(self, user: str, chars: float) -> Bucket:
        return Bucket(LIMIT, (user,), self._rate, chars)
