"""Reads everything that one pass decides on, in addition to the resource and its objects."""

from collections.abc import Mapping
from dataclasses import dataclass

from ashchat_operator.credentials.bundle import Inputs, secret_names
from ashchat_operator.credentials.rotation.machine import RotationState
from ashchat_operator.kube import adoption
from ashchat_operator.kube.api import Api
from ashchat_operator.kube.secret_data import decoded
from ashchat_operator.reconcile import exposure, external_secrets, provided, rotate
from ashchat_operator.reconcile.external_secrets import ExternalSecrets
from ashchat_operator.reconcile.passes import Pass
from ashchat_operator.reconcile.provided import Provided
from ashchat_operator.render.exposure import ObservedExposure
from ashchat_operator.resource.types import Data


@dataclass(frozen=True, slots=True)
class Observed:
    """What was read at the beginning of a pass."""

    held: Mapping[str, Data]
    """Name → data of the Secrets that hold credentials."""
    provided: Provided
    """The user-provided credentials."""
    external: ExternalSecrets
    """The Secrets of external backends."""
    known_ring: Mapping[str, str]
    """Version → fingerprint of the keys that data was sealed with."""
    rotations: Mapping[str, RotationState]
    """Kind of credential → the state of its rotation."""
    exposure: ObservedExposure

    def inputs(self, of: Pass) -> Inputs:
        """Return what the credentials follow from, in addition to the Secrets held."""
        servers = self.external.servers
        return Inputs(
            provided=self.provided.files(),
            known_ring=self.known_ring,
            rotations=self.rotations,
            servers=servers,
            proven=frozenset(
                backend for backend, server in servers.items() if server in of.memory.proven
            ),
        )


async def observe(api: Api, of: Pass) -> Observed:
    """Read what a pass decides on; new user-provided credentials are tried.

    Raises:
        ApiServerError: Something cannot be read; nothing is decided without it.
    """
    held = await _held(api, of)
    return Observed(
        held=held,
        provided=await provided.decide(api, of.ash, held, of.memory.trials),
        external=await external_secrets.read(api, of.ash),
        known_ring=await _known_ring(api, of),
        rotations=rotate.states(of.ash.status),
        exposure=await exposure.read(api, of.ash, of.found, of.now),
    )


async def _held(api: Api, of: Pass) -> dict[str, Data]:
    """Return the data of the Secrets with credentials; others of these names are left out."""
    names = secret_names(of.ash)
    there = {name: of.found.get(("Secret", name)) for name in names}
    # By name as well: removing a label must not rotate a password.
    missing = [name for name in names if there[name] is None]
    there |= await api.get_each("Secret", of.ash.namespace, missing)
    return {
        name: decoded(secret)
        for name, secret in there.items()
        if secret is not None and adoption.is_ours(of.ash, secret)
    }


async def _known_ring(api: Api, of: Pass) -> dict[str, str]:
    """Return the fingerprints of the keys that data was sealed with, by version.

    The status reports them. That of a new resource does not yet; then the claim of the data does,
    even one that has lost its labels.
    """
    if not of.ash.is_new:
        return dict(of.ash.status.get("keyRing", {}))
    kind, name = adoption.data_claim(of.ash)
    claim = of.found.get((kind, name)) or await api.get(kind, of.ash.namespace, name)
    return adoption.ring_of(claim)
