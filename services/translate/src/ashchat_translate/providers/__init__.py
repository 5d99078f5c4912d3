"""Translation providers: each translates one text into one language."""

from dataclasses import dataclass
from typing import Literal, Protocol

DownReason = Literal["unreachable", "timeout", "quota", "denied", "broken", "not_configured"]
RefusalReason = Literal["pair_unsupported", "source_unknown", "refused"]


class ProviderDownError(Exception):
    """The provider cannot translate now; the same call may succeed later."""

    def __init__(self, reason: DownReason) -> None:
        super().__init__(reason)
        self.reason: DownReason = reason


class ProviderRefusedError(Exception):
    """The provider does not support this text or these languages; another one may."""

    def __init__(self, reason: RefusalReason) -> None:
        super().__init__(reason)
        self.reason: RefusalReason = reason


@dataclass(frozen=True, slots=True)
class Answer:
    """A provider's translation, and the source language that it assumed."""

    text: str
    source: str | None


class Provider(Protocol):
    """Translates texts. Implementations do not retry; the service does."""

    @property
    def name(self) -> str:
        """The name in results, metrics and cache keys."""
        ...

    async def translate(self, text: str, source: str | None, target: str) -> Answer:
        """Translate a text between two canonical language tags (source None: unknown).

        Raises:
            ProviderDownError: the provider cannot translate now.
            ProviderRefusedError: the provider does not support the text or the languages.
        """
        ...
