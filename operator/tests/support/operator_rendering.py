"""What the tests of the model and of rendering share: a resource, and fixed credentials."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ashchat_core.api.reasons import Reason
from ashchat_operator.backends import external
from ashchat_operator.backends.base import Backend
from ashchat_operator.credentials.bundle import Credentials, ProvidedSecret, complete
from ashchat_operator.credentials.certificate import Certificate, CertificateChoice
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
    """Return always the same private key."""
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


def fixed_credentials(ash: AshChat) -> Credentials:
    """Return always the same credentials."""
    smtp = ash.spec.email.smtp.credentials_secret_ref
    google = ash.spec.translate.google
    return complete(
        ash,
        {},
        smtp=ProvidedSecret({"username": b"me", "password": b"mine"}, "11") if smtp else None,
        smtp_ca=ProvidedSecret({"ca.crt": b"PEM"}, "14")
        if ash.spec.email.smtp.ca_secret_ref
        else None,
        google=ProvidedSecret({"google.json": b"{}"}, "12") if google else None,
        google_ca=ProvidedSecret({"ca.crt": b"PEM"}, "13") if google else None,
        servers=fixed_servers(ash),
        generate=lambda: "generated-and-long-enough",
        generate_key=fixed_key,
        generate_ring_key=lambda: "5e" * 32,
    )


def rendered(name: str) -> list[dict[str, Any]]:
    """Return all objects of a resource of the golden files."""
    ash = resource(name)
    return platform.render(ash, CONTEXT, fixed_credentials(ash), fixed_exposure(ash))


def fixed_exposure(ash: AshChat) -> ObservedExposure:
    """Return always the same certificate, where the edge has TLS."""
    if ash.spec.exposure.edge.tls is None:
        return NOTHING_OBSERVED
    end = datetime(2030, 1, 1, tzinfo=UTC)
    served = Certificate(b"PEM", b"KEY", "fingerprint", end, ("chat.example.org",))
    return ObservedExposure(
        CertificateChoice(served, good=True, works=True, reason=Reason.SERVED, message="")
    )
