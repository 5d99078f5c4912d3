"""Translation providers: each translates sentences into one language."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from ashchat_translate.tokens import TokenStyle

DownReason = Literal["unreachable", "timeout", "quota", "denied", "broken", "not_configured"]
RefusalReason = Literal["pair_unsupported", "source_unknown", "refused", "provider_budget"]


class ProviderDownError(Exception):
    """The provider cannot translate now; the same call may succeed later.

    Attributes:
        reason: What is wrong.
        pair_only: Whether only this pair of languages is affected, as far as is known.
    """

    def __init__(self, reason: DownReason, *, pair_only: bool = False) -> None:
        super().__init__(reason)
        self.reason: DownReason = reason
        self.pair_only = pair_only


class ProviderRefusedError(Exception):
    """The provider does not support this text or these languages; another one may."""

    def __init__(self, reason: RefusalReason) -> None:
        super().__init__(reason)
        self.reason: RefusalReason = reason


@dataclass(frozen=True, slots=True)
class Answer:
    """A provider's translations, in the order of the texts, and the source that it assumed."""

    texts: tuple[str, ...]
    source: str | None
    is_cached: bool = False


class Provider(Protocol):
    """Translates texts. Implementations do not retry; the service does."""

    @property
    def name(self) -> str:
        """The name in results, metrics and cache keys."""
        ...

    @property
    def tokens(self) -> TokenStyle:
        """How atoms are written in texts for this provider."""
        ...

    async def translate(self, texts: Sequence[str], source: str | None, target: str) -> Answer:
        """Translate sentences between two canonical language tags (source None: unknown).

        A sentence has no line breaks, and no markup.

        Raises:
            ProviderDownError: the provider cannot translate now.
            ProviderRefusedError: the provider does not support the texts or the languages.
        """
        ...
