"""What people gave in Secrets of their own: the mail server's login and CA, Google's key and CA."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ashchat_operator.credentials.bundle import ProvidedSecret, ProvidedSecrets
from ashchat_operator.kube.api import Api
from ashchat_operator.kube.secret_data import decoded
from ashchat_operator.resource.model import AshChat, Provider, SecretReference
from ashchat_operator.resource.types import Data

SMTP_KEYS: Final = ("username", "password")
GOOGLE_KEYS: Final = ("google.json",)
CA_KEYS: Final = ("ca.crt",)


async def read(api: Api, ash: AshChat) -> ProvidedSecrets:
    """Read the Secrets that the resource names.

    Raises:
        ApiServerError: They cannot be read.
    """
    missing: dict[str, str] = {}

    async def one(
        component: str, reference: SecretReference | None, keys: Sequence[str]
    ) -> ProvidedSecret | None:
        if reference is None:
            return None
        body = await api.get("Secret", ash.namespace, reference.name)
        found = provided(body, keys)
        if found is None:
            missing[component] = (
                f"Secret {reference.name} with {' and '.join(keys)} is not in {ash.namespace}"
            )
        return found

    server = ash.spec.email.smtp
    smtp = await one("email", server.credentials_secret_ref, SMTP_KEYS)
    smtp_ca = await one("email", server.ca_secret_ref, CA_KEYS)
    google = ash.spec.translate.google
    if ash.spec.translate.provider is not Provider.GOOGLE or google is None:
        return ProvidedSecrets(smtp, smtp_ca, missing=missing)
    key = await one("translate", google.credentials_secret_ref, GOOGLE_KEYS)
    authority = await one("translate", google.ca_secret_ref, CA_KEYS)
    return ProvidedSecrets(smtp, smtp_ca, key, authority, missing)


def provided(body: Mapping[str, Any] | None, keys: Sequence[str]) -> ProvidedSecret | None:
    """Return what a Secret gives, None if it lacks a key."""
    data: Data = decoded(body) if body is not None else {}
    if body is None or not all(data.get(key) for key in keys):
        return None
    # Never a digest: that of a person's password could be found by trying.
    return ProvidedSecret(data, str(body["metadata"]["resourceVersion"]))
