"""Sessions of an account that have ended, in a file in its folder on the volume.

All processes have the volume in common, so a session that ends is refused by each of them. The
file has a maximum size; it is deleted once the access tokens of these sessions have expired.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from ashchat_core.messages import SESSION_IDS_MAX, SessionRevoked
from ashchat_core.tokens import AccessToken
from ashchat_static.folders import OWNERS, lock_owner, on_disk, sync
from ashchat_static.service import owner_of

ENDED: Final = ".ended-sessions"

NAMED_MAX: Final = 2 * SESSION_IDS_MAX
"""Maximum sessions of an account that are remembered by name, the newest ones."""


@dataclass(frozen=True, slots=True)
class Ended:
    """Which sessions of an account have ended."""

    below: int = 0
    """Those of older epochs,"""

    but: str = ""
    """except this one,"""

    named: tuple[str, ...] = ()
    """and these, the last one to end last."""

    def includes(self, access: AccessToken) -> bool:
        """Return whether a token's session has ended."""
        older = access.epoch < self.below and access.session_id != self.but
        return older or access.session_id in self.named

    def plus(self, message: SessionRevoked) -> "Ended":
        """Return them together with those of a message; repeating it changes nothing."""
        newer = message.below > self.below
        fresh = tuple(one for one in message.session_ids if one not in self.named)
        return Ended(
            below=message.below if newer else self.below,
            but=(message.but or "") if newer else self.but,
            named=(*self.named, *fresh)[-NAMED_MAX:],
        )


class EndedSessions:
    """The ended sessions of all accounts, on the volume."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def add(self, message: SessionRevoked) -> None:
        """Store, durably, that sessions have ended.

        Raises:
            StorageFullError: the volume is full.
            OSError: the volume failed.
        """
        await on_disk(self._add, message)

    async def includes(self, access: AccessToken) -> bool:
        """Return whether a token's session has ended."""
        owned = self._folder / OWNERS / owner_of(access.user_id)
        return (await on_disk(_read, owned)).includes(access)

    def _add(self, message: SessionRevoked) -> None:
        with lock_owner(self._folder, owner_of(message.user_id)) as owned:
            text = json.dumps(asdict(_read(owned).plus(message)))
            draft = owned / f"{ENDED}.new"
            with draft.open("w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(owned / ENDED)
            sync(owned)


def _read(owned: Path) -> Ended:
    try:
        found = json.loads((owned / ENDED).read_text())
        return Ended(found["below"], found["but"], tuple(found["named"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return Ended()
