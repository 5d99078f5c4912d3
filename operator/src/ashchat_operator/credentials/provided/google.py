"""The key of a service account for Google Cloud Translation."""

from collections.abc import Mapping
from typing import ClassVar, Final

from ashchat_core.topology import Service
from ashchat_operator.credentials.candidates import Pair, Verdict
from ashchat_operator.credentials.provided.base import CA_KEY, ProvidedCredential, References
from ashchat_operator.resource.enums import Provider
from ashchat_operator.resource.model import Google, Spec

DEFAULT_ENDPOINT: Final = "translate.googleapis.com:443"


class GoogleCredential(ProvidedCredential):
    """The key and the certificate authority of spec.translate.google."""

    name = "google"
    service = Service.TRANSLATE
    files: ClassVar[Mapping[str, str]] = {"google.json": "google.json"}

    def references(self, spec: Spec) -> References:
        """Return the Secrets that the spec names, if the provider is Google."""
        google = spec.translate.google
        if spec.translate.provider is not Provider.GOOGLE or google is None:
            return References()
        return References(google.credentials_secret_ref, google.ca_secret_ref)

    def server(self, spec: Spec) -> str:
        """Return the endpoint and what the key is tried for, as text."""
        google = _block(spec)
        return f"{google.endpoint or DEFAULT_ENDPOINT}/{parent(google)}"

    async def attempt(self, spec: Spec, pair: Pair) -> Verdict:
        """Call the API once with the key."""
        # Loads grpc, which takes tens of MiB that only this provider needs.
        from ashchat_operator.credentials.provided import google_api

        google = _block(spec)
        return await google_api.attempt(
            google.endpoint or DEFAULT_ENDPOINT,
            parent(google),
            key=pair.login.data["google.json"] if pair.login else b"",
            ca=pair.ca.data[CA_KEY] if pair.ca else None,
        )


def _block(spec: Spec) -> Google:
    if spec.translate.google is None:
        raise ValueError("spec.translate.google is not set")
    return spec.translate.google


def parent(google: Google) -> str:
    """Return the resource that requests are about: a location of a project."""
    return f"projects/{google.project}/locations/{google.location}"
