"""Reads the Secrets of external backends, and reports what is wrong with them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from ashchat_core.api.reasons import Reason
from ashchat_operator.backends.base import Backend
from ashchat_operator.backends.external import (
    CA_KEY,
    ExternalServer,
    InvalidSecretError,
    blocks,
    prefix,
    server,
)
from ashchat_operator.kube.api import Api
from ashchat_operator.kube.secret_data import decoded
from ashchat_operator.resource.model import AshChat, External
from ashchat_operator.status.components import Component


@dataclass(frozen=True, slots=True)
class ExternalSecrets:
    """The external servers, and what is wrong with the Secrets of the others."""

    servers: Mapping[Backend, ExternalServer] = field(default_factory=dict)
    wrong: Mapping[Backend, tuple[Reason, str]] = field(default_factory=dict)
    """Backend → the reason, and what to do."""


async def read(api: Api, ash: AshChat) -> ExternalSecrets:
    """Read the Secrets of the external backends.

    Raises:
        ApiServerError: They cannot be read.
    """
    named = {backend: _names(block) for backend, block in blocks(ash).items()}
    secrets = await api.get_each("Secret", ash.namespace, chain.from_iterable(named.values()))
    servers: dict[Backend, ExternalServer] = {}
    wrong: dict[Backend, tuple[Reason, str]] = {}
    for backend, block in blocks(ash).items():
        names = named[backend]
        bodies = [secrets[name] for name in names]
        missing = [name for name, body in zip(names, bodies, strict=True) if body is None]
        if missing:
            message = f"Secret {' and '.join(missing)} of the external {backend} does not exist"
            wrong[backend] = (
                Reason.SECRET_MISSING,
                f"{message}: create it in namespace {ash.namespace}",
            )
            continue
        data = [decoded(body) for body in bodies if body is not None]
        revision = "-".join(str(body["metadata"]["resourceVersion"]) for body in bodies if body)
        try:
            servers[backend] = server(
                backend,
                block,
                data[0],
                ca=data[1].get(CA_KEY, b"") if len(data) > 1 else None,
                beginning=prefix(ash, block),
                revision=revision,
            )
        except InvalidSecretError as error:
            wrong[backend] = (Reason.SECRET_INVALID, f"Secret {names[0]}: {error}")
    return ExternalSecrets(servers, wrong)


def _names(block: External) -> list[str]:
    """Return the names of the Secrets of an external backend, that of the login first."""
    return [
        block.connection_secret_ref.name,
        *([block.tls.ca_secret_ref.name] if block.tls.ca_secret_ref else []),
    ]


def with_wrong(components: Sequence[Component], found: ExternalSecrets) -> list[Component]:
    """Return the components, those whose Secret is not usable as not ready."""
    wrong = {backend.value: said for backend, said in found.wrong.items()}
    return [item.blocked(*wrong[item.name]) if item.name in wrong else item for item in components]
