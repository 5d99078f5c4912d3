"""The keys that sign access tokens: a new one is known to all before it signs.

The former verifies until the last token that it signed has expired, then it goes.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from ashchat_core.tokens import JWKS, LEEWAY_SECONDS, SIGNING_KEYS, key_set_revision
from ashchat_core.topology import SERVICES, Service
from ashchat_operator.credentials.rotation.machine import NEW_IS_ACTIVE, Phase, RotationState
from ashchat_operator.credentials.signing_keys import SigningKeySet, public_jwk
from ashchat_operator.kube.clock import rfc3339
from ashchat_operator.resource.types import Data

NAME: Final = "signing-keys"

SIGNS: Final = Service.AUTH.value
VERIFY: Final = tuple(spec.name.value for spec in SERVICES if spec.public)

MARGIN_SECONDS: Final = 30
"""Beyond a token's life and the verifiers' leeway: our clock and auth's may differ, and a
token may be on its way."""


def complete(
    held: Data, copy: Data, state: RotationState, generate: Callable[[], bytes]
) -> SigningKeySet:
    """Return the keys that the Secret or its copy hold, as the phase wants them.

    Args:
        held: The Secret's data.
        copy: Its copy's.
        state: How far the rotation is.
        generate: Makes a private key (PKCS 8, PEM).
    """
    ring = SigningKeySet.complete({**copy, **held}, generate)
    if state.phase is Phase.ADDING and len(ring.keys) == 1:
        pem = generate()
        return replace(ring, keys={**ring.keys, str(public_jwk(pem)["kid"]): pem})
    if state.phase in NEW_IS_ACTIVE and state.active in ring.keys:
        ring = replace(ring, active=state.active)
    if state.phase is Phase.VERIFYING:
        return replace(ring, keys={ring.active: ring.keys[ring.active]})
    return ring


@dataclass(frozen=True, slots=True)
class RotatingSigningKeys:
    """The kind `signing-keys`; see `machine.Kind`."""

    ring: SigningKeySet = field(repr=False)
    token_life: timedelta
    now: datetime
    lacking: Callable[[Mapping[str, Mapping[str, str]]], Awaitable[str]]
    """Asks the pods; says which of them lack what is expected."""
    name: str = NAME

    def active(self) -> str:
        """Return the id of the key that the Secret says signs."""
        return self.ring.active

    def newcomer(self) -> str:
        """Return the id of the key that was added."""
        return next((kid for kid in self.ring.keys if kid != self.ring.active), self.ring.active)

    def unfinished(self, state: RotationState) -> bool:
        """Tell whether there are keys beside the active one: they go when nothing needs them."""
        return not state.running and len(self.ring.keys) > 1

    async def outstanding(self, state: RotationState) -> str:
        """Return what the phase waits for."""
        match state.phase:
            case Phase.ADDING | Phase.VERIFYING:
                known = {JWKS: key_set_revision(self.ring.keys)}
                return await self.lacking(dict.fromkeys(VERIFY, known))
            case Phase.PROVING:
                return await self.lacking({SIGNS: {SIGNING_KEYS: self.ring.active}})
            case Phase.RETIRING:
                until = self._expired(state)
                if self.now < until:
                    return f"tokens of the former key may live until {rfc3339(until)}"
                return ""
            case _:
                return ""  # the Secret was applied before anybody asks

    def _expired(self, state: RotationState) -> datetime:
        """Return when the last token of the former key has expired.

        Since the phase began every pod of auth has signed with the new one.
        """
        life = self.token_life + timedelta(seconds=LEEWAY_SECONDS + MARGIN_SECONDS)
        return datetime.fromisoformat(state.last_transition_time) + life
