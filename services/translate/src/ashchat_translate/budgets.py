"""How much may be translated: for each account, and with each provider that costs money."""

from collections.abc import Mapping, Sequence
from typing import Final

from ashchat_core.admission.rules import Bucket, Limiter, Rate

DAY_SECONDS: Final = 24 * 3600.0


class Budgets:
    """Characters that accounts have translated, and that providers are paid for.

    Args:
        admission: Where they are counted.
        account_characters_per_day: What an account may have translated, into all languages.
        paid_characters_per_day: What each provider that costs money may be sent, by name.
    """

    def __init__(
        self,
        admission: Limiter,
        *,
        account_characters_per_day: float,
        paid_characters_per_day: Mapping[str, float],
    ) -> None:
        self._admission = admission
        self._account = Rate(account_characters_per_day, DAY_SECONDS)
        self._paid = {
            name: Rate(characters, DAY_SECONDS)
            for name, characters in paid_characters_per_day.items()
        }

    async def allow(self, account: str, characters: int) -> bool:
        """Charge a text to its sender, once for each language; return whether there was room."""
        bucket = Bucket("translate.account", (account,), self._account, characters)
        return not await self._admission.take([bucket])

    async def spend(self, provider: str, texts: Sequence[str]) -> bool:
        """Charge a call to the platform's budget; return whether there was room."""
        return not await self._admission.take(self._spent(provider, texts))

    async def refund(self, provider: str, texts: Sequence[str]) -> None:
        """Return what `spend` charged, because the provider did not answer."""
        await self._admission.give_back(self._spent(provider, texts))

    def _spent(self, provider: str, texts: Sequence[str]) -> Sequence[Bucket]:
        rate = self._paid.get(provider)
        if rate is None:
            return ()
        return (Bucket("translate.provider", (provider,), rate, sum(map(len, texts))),)
