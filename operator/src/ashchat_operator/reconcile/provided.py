"""Reads user-provided credentials, has them tried, and decides which are used."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ashchat_core.topology import Service
from ashchat_operator.credentials import candidates
from ashchat_operator.credentials.bundle import service_secret
from ashchat_operator.credentials.candidates import (
    Candidate,
    Decision,
    Pair,
    ProvidedSecret,
    Verdict,
)
from ashchat_operator.credentials.provided import KINDS
from ashchat_operator.credentials.provided.base import CA_KEY, ProvidedCredential
from ashchat_operator.credentials.trials import Trials
from ashchat_operator.kube.api import Api
from ashchat_operator.kube.secret_data import decoded
from ashchat_operator.resource.model import AshChat, SecretReference
from ashchat_operator.resource.types import Data, ObjectView


@dataclass(frozen=True, slots=True)
class Provided:
    """The user-provided credentials of one pass."""

    decisions: Mapping[str, Decision] = field(default_factory=dict)
    """Kind of credential → what is used, and why."""

    def files(self) -> dict[Service, dict[str, bytes]]:
        """Return the files that each service gets."""
        result: dict[Service, dict[str, bytes]] = {}
        for kind, decision in self.decisions.items():
            files = KINDS[kind].stored(decision.use or Pair())
            result.setdefault(KINDS[kind].service, {}).update(files)
        return result


async def decide(api: Api, ash: AshChat, held: Mapping[str, Data], trials: Trials) -> Provided:
    """Return which user-provided credentials are used; those that are new are tried.

    Args:
        api: The API server.
        ash: The AshChat.
        held: Name of a Secret of the operator's → its data.
        trials: The trials of this AshChat.

    Raises:
        ApiServerError: A Secret cannot be read.
    """
    offered = {
        kind.name: await _candidate(api, ash, kind)
        for kind in KINDS.values()
        if kind.references(ash.spec)
    }
    stored = {
        name: KINDS[name].held(held.get(service_secret(ash, KINDS[name].service), {}))
        for name in offered
    }

    async def attempt(candidate: Candidate) -> Verdict:
        return await KINDS[candidate.kind].attempt(ash.spec, candidate.pair or Pair())

    untried = {
        name: item for name, item in offered.items() if candidates.untried(item, stored[name])
    }
    verdicts = await trials.verdicts(untried, attempt)
    return Provided(
        {
            name: candidates.decide(item, stored[name], verdicts.get(name))
            for name, item in offered.items()
        }
    )


async def _candidate(api: Api, ash: AshChat, kind: ProvidedCredential) -> Candidate:
    references = kind.references(ash.spec)
    missing: list[str] = []

    async def read(
        reference: SecretReference | None, keys: tuple[str, ...]
    ) -> ProvidedSecret | None:
        if reference is None:
            return None
        found = provided(await api.get("Secret", ash.namespace, reference.name), keys)
        if found is None:
            missing.append(
                f"Secret {reference.name} with {' and '.join(keys)} does not exist in "
                f"{ash.namespace}"
            )
        return found

    pair = Pair(
        await read(references.login, tuple(kind.files)), await read(references.ca, (CA_KEY,))
    )
    return Candidate(
        kind.name,
        kind.service,
        kind.server(ash.spec),
        references.names,
        None if missing else pair,
        missing[-1] if missing else "",
    )


def provided(body: ObjectView | None, keys: tuple[str, ...]) -> ProvidedSecret | None:
    """Return the keys of a user's Secret; None if it does not exist or lacks one."""
    data = decoded(body) if body is not None else {}
    if body is None or not all(data.get(key) for key in keys):
        return None
    # Never a digest: a user's password could be found by trying.
    revision = str(body["metadata"]["resourceVersion"])
    return ProvidedSecret({key: data[key] for key in keys}, revision)
