"""The keys that sign access tokens: a new key is known to all verifiers before it signs.

The previous key verifies until the last token that it signed has expired, and is then removed.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from ashchat_core.clocks import CLOCK_SKEW_SECONDS
from ashchat_core.tokens import JWKS, SIGNING_KEYS, key_set_revision
from ashchat_core.topology import SERVICES, Service
from ashchat_operator.credentials.rotation.machine import NEW_IS_ACTIVE, Phase, RotationState
from ashchat_operator.credentials.signing_keys import SigningKeySet, public_jwk
from ashchat_operator.kube.clock import rfc3339
from ashchat_operator.resource.types import Data

NAME: Final = "signing-keys"

SIGNS: Final = Service.AUTH.value
VERIFY: Final = tuple(spec.name.value for spec in SERVICES if spec.public)

MARGIN_SECONDS: Final = 30
"""Seconds in addition to a token's lifetime and the verifiers' leeway, because our clock and auth's
may differ, and a token may be in transit."""


def complete(
    held: Data, copy: Data, state: RotationState, generate: Callable[[], bytes]
) -> SigningKeySet:
    """Return the keys that the Secret or its copy hold, as the phase needs them.

    Args:
        held: The data of the Secret.
        copy: The data of its copy.
        state: The state of the rotation.
        generate: Generates a private key (PKCS 8, PEM).
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
    """The kind `signing-keys`; see `machine.RotatingCredential`."""

    ring: SigningKeySet = field(repr=False)
    token_life: timedelta
    now: datetime
    lacking: Callable[[Mapping[str, Mapping[str, str]]], Awaitable[str]]
    """Asks the pods; returns which of them lack what is expected."""
    name: str = NAME

    def active(self) -> str:
        """Return the id of the key that signs, as the Secret has it."""
        return self.ring.active

    def newcomer(self) -> str:
        """Return the id of the key that was added."""
        return next((kid for kid in self.ring.keys if kid != self.ring.active), self.ring.active)

    def unfinished(self, state: RotationState) -> bool:
        """Return whether there are keys besides the active one, which are removed when unused."""
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
                    return f"tokens of the previous key may be valid until {rfc3339(until)}"
                return ""
            case _:
                return ""  # the Secret was applied before this call

    def _expired(self, state: RotationState) -> datetime:
        """Return when the last token of the previous key has expired.

        Every pod of auth has signed with the new key since the phase began.
        """
        life = self.token_life + timedelta(seconds=CLOCK_SKEW_SECONDS + MARGIN_SECONDS)
        return datetime.fromisoformat(state.last_transition_time) + life
