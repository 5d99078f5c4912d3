"""Fixtures of the tests of the model and of rendering: a resource, and fixed credentials."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ashchat_core.api.reasons import Reason
from ashchat_core.topology import Service
from ashchat_operator.backends import external
from ashchat_operator.backends.base import Backend
from ashchat_operator.credentials.bundle import Credentials, Generators, Inputs, complete
from ashchat_operator.credentials.candidates import Pair, ProvidedSecret
from ashchat_operator.credentials.certificate import Certificate, CertificateChoice
from ashchat_operator.credentials.provided import KINDS
from ashchat_operator.render import platform
from ashchat_operator.render.exposure import NOTHING_OBSERVED, ObservedExposure
from ashchat_operator.resource.images import COMPONENTS, Images
from ashchat_operator.resource.model import AshChat
from ashchat_operator.resource.names import ClusterContext

GOLDEN = Path(__file__).parents[1] / "golden"
CONTEXT = ClusterContext(
    Images({name: f"registry.test/{name}:1" for name in COMPONENTS}), pod_cidrs="10.244.0.0/16"
)


def resource(name: str) -> AshChat:
    """Return a resource of the golden files."""
    return AshChat.parse(yaml.safe_load((GOLDEN / f"{name}.in.yaml").read_text()))


def changed(name: str, changes: dict[str, Any]) -> AshChat:
    """Return a resource of the golden files with parts of its spec replaced."""
    body = yaml.safe_load((GOLDEN / f"{name}.in.yaml").read_text())
    body["spec"] |= changes
    return AshChat.parse(body)


def fixed_key() -> bytes:
    """Return the same private key in each call."""
    key = ec.derive_private_key(0xA5C_CA7, ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


GIVEN_SECRETS: dict[Backend, dict[str, bytes]] = {
    Backend.RABBITMQ: {"uri": b"amqps://boss:word@mq.example.org"},
    Backend.REDIS: {"host": b"redis.example.org", "password": b"word"},
    Backend.CACHE: {"host": b"redis.example.org", "password": b"word"},
    Backend.MONGODB: {"uri": b"mongodb+srv://boss:w%2Ford@db.example.org/?retryWrites=true"},
}


def fixed_servers(ash: AshChat) -> dict[Backend, external.ExternalServer]:
    """Return the external backends of a resource, as fixed Secrets describe them."""
    return {
        backend: external.server(
            backend,
            block,
            GIVEN_SECRETS[backend],
            ca=b"-----BEGIN CERTIFICATE-----" if block.tls.ca_secret_ref else None,
            beginning=external.prefix(ash, block),
            revision="15",
        )
        for backend, block in external.blocks(ash).items()
    }


PROVIDED = {
    "smtp": Pair(
        ProvidedSecret({"username": b"me", "password": b"mine"}, "11"),
        ProvidedSecret({"ca.crt": b"PEM"}, "14"),
    ),
    "google": Pair(
        ProvidedSecret({"google.json": b"{}"}, "12"), ProvidedSecret({"ca.crt": b"PEM"}, "13")
    ),
}


def fixed_provided(ash: AshChat) -> dict[Service, dict[str, bytes]]:
    """Return the files of the user-provided credentials that a resource references."""
    result: dict[Service, dict[str, bytes]] = {}
    for kind in KINDS.values():
        named = kind.references(ash.spec)
        whole = PROVIDED[kind.name]
        pair = Pair(whole.login if named.login else None, whole.ca if named.ca else None)
        result.setdefault(kind.service, {}).update(kind.stored(pair))
    return result


def fixed_generators() -> Generators:
    """Return generators that always produce the same secrets."""
    return Generators(
        password=lambda: "generated-and-long-enough",
        signing_key=fixed_key,
        ring_key=lambda: "5e" * 32,
    )


def fixed_credentials(ash: AshChat) -> Credentials:
    """Return the same credentials in each call."""
    inputs = Inputs(provided=fixed_provided(ash), servers=fixed_servers(ash))
    return complete(ash, {}, inputs, fixed_generators())


def rendered(name: str) -> list[dict[str, Any]]:
    """Return all objects of a resource of the golden files."""
    ash = resource(name)
    return platform.render(ash, CONTEXT, fixed_credentials(ash), fixed_exposure(ash))


def fixed_exposure(ash: AshChat) -> ObservedExposure:
    """Return a fixed certificate if the edge has TLS."""
    if ash.spec.exposure.edge.tls is None:
        return NOTHING_OBSERVED
    end = datetime(2030, 1, 1, tzinfo=UTC)
    served = Certificate(b"PEM", b"KEY", "fingerprint", end, ("chat.example.org",))
    return ObservedExposure(
        CertificateChoice(served, good=True, works=True, reason=Reason.SERVED, message="")
    )
