"""The keys for secrets at rest: a new key seals, and what the previous one sealed is sealed again.

The hashing half of the previous key stays: recovery codes were hashed with it, and only their
owners know them. It cannot decrypt anything.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from ashchat_core import at_rest
from ashchat_operator.credentials.at_rest import AtRestKeyRing
from ashchat_operator.credentials.rotation.machine import NEW_IS_ACTIVE, Phase, RotationState
from ashchat_operator.resource.types import Data

NAME: Final = "key-ring"

OWNER: Final = "auth"
IN_USE: Final = "key-ring"
"""The credential whose revision identifies the ring that a pod uses."""
SEALED: Final = "at-rest"
"""The credential whose revision identifies the ring under whose retiring keys nothing is left."""


def complete(
    held: Data,
    copy: Data,
    known: Mapping[str, str],
    state: RotationState,
    generate: Callable[[], str],
) -> AtRestKeyRing:
    """Return the keys that the Secret or its copy hold, as the phase needs them.

    Args:
        held: The data of the Secret.
        copy: The data of its copy.
        known: Version → fingerprint, as the status reports them.
        state: The state of the rotation.
        generate: Generates a key.
    """
    ring = AtRestKeyRing.complete(held, copy, known, generate)
    if state.phase is Phase.ADDING and len(ring.keys) == 1:
        return replace(ring, keys={**ring.keys, ring.following(): generate()})
    if state.phase in NEW_IS_ACTIVE and state.active in ring.keys:
        ring = replace(ring, active=state.active)
    if state.phase is Phase.RETIRING:
        return replace(ring, retire=tuple(sorted(x for x in ring.keys if x != ring.active)))
    if state.phase is Phase.VERIFYING:
        return ring.without_former()
    return ring


@dataclass(frozen=True, slots=True)
class RotatingKeyRing:
    """The kind `key-ring`; see `machine.RotatingCredential`."""

    ring: AtRestKeyRing = field(repr=False)
    lacking: Callable[[Mapping[str, Mapping[str, str]]], Awaitable[str]]
    """Asks the pods; returns which of them lack what is expected."""
    name: str = NAME

    def active(self) -> str:
        """Return the version that seals, as the Secret has it."""
        return self.ring.active

    def newcomer(self) -> str:
        """Return the version that was added."""
        others = [version for version in self.ring.keys if version != self.ring.active]
        return others[0] if others else self.ring.active

    def unfinished(self, state: RotationState) -> bool:
        """Return whether there are keys besides the active one, which are removed when unused."""
        return not state.running and len(self.ring.keys) > 1

    async def outstanding(self, state: RotationState) -> str:
        """Return what the phase waits for."""
        files = {name: raw.decode() for name, raw in self.ring.files().items()}
        revision = at_rest.revision(files)
        match state.phase:
            case Phase.ADDING | Phase.PROVING | Phase.VERIFYING:
                return await self.lacking({OWNER: {IN_USE: revision}})
            case Phase.RETIRING:
                return await self.lacking({OWNER: {IN_USE: revision, SEALED: revision}})
            case _:
                return ""  # the Secret was applied before this call
