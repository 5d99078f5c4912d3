"""What a provider is: one thing that translates one text into one language."""

from dataclasses import dataclass
from typing import Literal, Protocol

DownReason = Literal["unreachable", "timeout", "quota", "denied", "broken", "not_configured"]
RefusalReason = Literal["pair_unsupported", "source_unknown", "refused"]


class ProviderDown(Exception):
    """The provider cannot translate now: the same call is right in a moment."""

    def __init__(self, reason: DownReason) -> None:
        super().__init__(reason)
        self.reason: DownReason = reason


class Refused(Exception):
    """The provider works, but not for this text or these languages: ask another one."""

    def __init__(self, reason: RefusalReason) -> None:
        super().__init__(reason)
        self.reason: RefusalReason = reason


@dataclass(frozen=True, slots=True)
class Answer:
    """A provider's translation, and the language it took the text for."""

    text: str
    source: str | None


class Provider(Protocol):
    """A way to translate. Implementations add no retries: the service decides on those."""

    @property
    def name(self) -> str:
        """The name in results, metrics and cache keys."""
        ...

    async def translate(self, text: str, source: str | None, target: str) -> Answer:
        """Translate a text between two normal language tags (source None: unknown).

        Raises:
            ProviderDown: later.
            Refused: not here.
        """
        ...
