"""The keys for secrets at rest: a new one seals, what the former sealed is sealed anew.

Of the former its hashing half stays: recovery codes were hashed with it, and nobody but
their owners knows them. It opens nothing.
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
"""The credential whose revision says which ring a pod uses."""
SEALED: Final = "at-rest"
"""The credential whose revision says for which ring nothing is left under a retiring key."""


def complete(
    held: Data,
    copy: Data,
    known: Mapping[str, str],
    state: RotationState,
    generate: Callable[[], str],
) -> AtRestKeyRing:
    """Return the keys that the Secret or its copy hold, as the phase wants them.

    Args:
        held: The Secret's data.
        copy: Its copy's.
        known: Version → fingerprint, as the status says.
        state: How far the rotation is.
        generate: Makes a key.
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
    """The kind `key-ring`; see `machine.Kind`."""

    ring: AtRestKeyRing = field(repr=False)
    lacking: Callable[[Mapping[str, Mapping[str, str]]], Awaitable[str]]
    """Asks the pods; says which of them lack what is expected."""
    name: str = NAME

    def active(self) -> str:
        """Return the version that the Secret says seals."""
        return self.ring.active

    def newcomer(self) -> str:
        """Return the version that was added."""
        others = [version for version in self.ring.keys if version != self.ring.active]
        return others[0] if others else self.ring.active

    def unfinished(self, state: RotationState) -> bool:
        """Tell whether there are keys beside the active one: they go when they are empty."""
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
                return ""  # the Secret was applied before anybody asks
