"""Settings of the translate service."""

from typing import Literal

from pydantic import Field, model_validator

from ashchat_core.settings import ServiceSettings

ProviderName = Literal["apertium", "google"]


class Settings(ServiceSettings):
    """Providers, cache and limits; secrets are files."""

    translate_provider: ProviderName = Field("apertium", description="The provider.")
    translate_fallback: ProviderName | Literal[""] = Field(
        "", description="The provider that is asked if the first one cannot translate; empty: none."
    )
    apertium_url: str = Field(
        "http://127.0.0.1:2737", description="Base URL of apertium-apy's HTTP API."
    )
    google_project: str = Field("", description="The Google Cloud project that is billed.")
    google_location: str = Field("global", description="Location of Google's API.")
    google_endpoint: str = Field(
        "", description="host:port of Google's API; empty: translate.googleapis.com."
    )
    google_ca_file: str = Field(
        "", description="PEM file of the CAs that verify Google's API; empty: the public CAs."
    )
    google_characters_per_day: int = Field(
        10_000_000, ge=1, description="Maximum characters sent to Google per day, for all accounts."
    )
    characters_per_account_per_day: int = Field(
        2_000_000,
        ge=1,
        description="Maximum characters of one account's messages translated per day, counted "
        "once for each language.",
    )
    translate_call_seconds: float = Field(
        8.0, gt=0, description="Maximum duration of one call of a provider, in seconds."
    )
    translate_hold_seconds: float = Field(
        30.0,
        ge=0,
        description="How long a job is held while its provider is down, in seconds; then the "
        "original is shown.",
    )
    translate_cache_seconds: int = Field(
        30 * 24 * 3600, gt=0, description="How long a translation is cached, in seconds."
    )
    translate_prefetch: int = Field(
        200, ge=1, le=1_000, description="Maximum jobs in progress, including those that wait."
    )

    @model_validator(mode="after")
    def _google_has_a_project(self) -> "Settings":
        chosen = {self.translate_provider, self.translate_fallback}
        if "google" in chosen and not self.google_project:
            raise ValueError("the google provider requires ASHCHAT_GOOGLE_PROJECT")
        return self
