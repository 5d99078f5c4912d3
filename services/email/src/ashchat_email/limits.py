"""How many mails an address gets, and how many are sent at all.

auth limits what strangers may have mailed. These limits are wider, and hold whatever auth asks
for: a defect, or lost counters, must not cost the sender its reputation.
"""

from typing import Final

import structlog

from ashchat_core.admission.rules import PLATFORM, Bucket, Limiter, Rate
from ashchat_email.codes import mail_key

DAY_SECONDS: Final = 24 * 3600.0


class MailLimits:
    """Charges each mail to its address and to the platform.

    Args:
        admission: Where mails are counted.
        per_address: Maximum mails to one address per day.
        in_total: Maximum mails per day.
    """

    def __init__(self, admission: Limiter, *, per_address: int, in_total: int) -> None:
        self._admission = admission
        self._address = Rate(per_address, DAY_SECONDS)
        self._platform = Rate(in_total, DAY_SECONDS)
        self._log = structlog.get_logger("limits")

    async def take(self, address: str) -> bool:
        """Charge a mail; return whether it may be sent."""
        wait = await self._admission.take(self._buckets(address))
        if wait:
            self._log.warning("a mail exceeds a limit and is dropped", wait_seconds=wait)
        return not wait

    async def give_back(self, address: str) -> None:
        """Return what `take` charged, because the mail was not sent."""
        await self._admission.give_back(self._buckets(address))

    def _buckets(self, address: str) -> tuple[Bucket, ...]:
        return (
            Bucket("mail.recipient", (mail_key(address),), self._address),
            Bucket("mail.sender", (PLATFORM,), self._platform),
        )
