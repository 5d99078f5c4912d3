"""The languages that users read, remembered for a short time."""

from collections.abc import Sequence

from ashchat_chat.clock import monotonic
from ashchat_chat.rooms.ports import LogStore

MEMORY_SECONDS = 30.0
USERS_MAX = 50_000
"""Maximum users in memory."""


class ReaderLanguages:
    """Reads users' languages from the store, and remembers them."""

    def __init__(self, store: LogStore) -> None:
        self._store = store
        self._known: dict[str, tuple[str, float]] = {}

    async def of(self, users: Sequence[str]) -> dict[str, str]:
        """Return the languages that users read; a user without a profile is left out.

        Raises:
            StoreUnavailableError: the store could not be read.
        """
        now = monotonic()
        unknown = [user for user in users if self._known.get(user, ("", 0.0))[1] <= now]
        if len(self._known) + len(unknown) > USERS_MAX:
            self._known.clear()
            unknown = list(users)
        found = await self._store.languages(unknown) if unknown else {}
        # A user who has no profile yet is asked for again next time.
        self._known |= {user: (language, now + MEMORY_SECONDS) for user, language in found.items()}
        return {user: self._known[user][0] for user in users if user in self._known}

    def forget(self, user: str) -> None:
        """Read a user's language from the store again."""
        self._known.pop(user, None)
