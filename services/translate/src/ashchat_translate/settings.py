"""Settings of the translate service."""

from typing import Literal

from pydantic import Field, model_validator

from ashchat_core.settings import ServiceSettings

ProviderName = Literal["apertium", "google"]


class Settings(ServiceSettings):
    """What only the translate service has."""

    translate_provider: ProviderName = Field("apertium", description="Who translates.")
    translate_fallback: ProviderName | Literal[""] = Field(
        "", description="Who is asked when the first one cannot; empty: nobody."
    )
    apertium_url: str = Field(
        "http://127.0.0.1:2737", description="Base URL of apertium-apy's HTTP API."
    )
    google_project: str = Field("", description="Google Cloud project that pays.")
    google_location: str = Field("global", description="Location of Google's API.")
    google_endpoint: str = Field(
        "", description="host:port of Google's API; empty: translate.googleapis.com."
    )
    google_ca_file: str = Field(
        "", description="PEM file of the CAs Google's API is trusted by; empty: the public ones."
    )
    translate_call_seconds: float = Field(
        8.0, gt=0, description="Seconds one call of a provider may take."
    )
    translate_hold_seconds: float = Field(
        30.0,
        ge=0,
        description="Seconds a job is held while its provider is down; then the original stays.",
    )
    translate_cache_seconds: int = Field(
        30 * 24 * 3600, gt=0, description="Seconds a translation stays in the cache."
    )
    translate_prefetch: int = Field(
        32, ge=1, le=200, description="Jobs taken from the queue at a time."
    )

    @model_validator(mode="after")
    def _google_has_a_project(self) -> "Settings":
        chosen = {self.translate_provider, self.translate_fallback}
        if "google" in chosen and not self.google_project:
            raise ValueError("the google provider needs ASHCHAT_GOOGLE_PROJECT")
        return self
