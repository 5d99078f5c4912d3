"""Settings of a service: one pydantic-settings class each, read from the environment.

Secrets are not settings. They are files in `credentials_dir` (see `credentials`), so that they
can change while the service runs and never appear in a pod's description.
"""

from pathlib import Path
from typing import Final, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings, SettingsConfigDict

from ashchat_core import client_address, origins

ENV_PREFIX: Final = "ASHCHAT_"


class ServiceSettings(BaseSettings):
    """Settings that every service has; each service derives its own class."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_file=".env", extra="ignore", frozen=True
    )

    pod_name: str = Field("local", description="Name of this process in metrics and queues.")
    credentials_dir: Path = Field(
        Path("/etc/ashchat/credentials"),
        description="Folder of credential files; they are read again when they change.",
    )
    bind: str = Field("0.0.0.0", description="Address both ports listen on.")  # noqa: S104
    port: int = Field(8080, description="Public HTTP port.")
    private_port: int = Field(9000, description="Port of /livez, /readyz and /metrics.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Minimum severity of logged lines."
    )
    token_issuer: str = Field("ashchat-auth-service", description="`iss` of access tokens.")
    token_audience: str = Field("ashchat", description="`aud` of access tokens.")


class PublicSettings(ServiceSettings):
    """Settings of a service that clients call."""

    trusted_proxies: str = Field(
        "",
        description="Networks (CIDR, comma-separated) whose X-Forwarded-For header is trusted.",
    )
    allowed_origins: str = Field(
        "",
        description="Origins (comma-separated) whose pages may call the HTTP API and open "
        "sockets, for example https://app.example.org or capacitor://localhost.",
    )

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: str) -> str:
        client_address.networks(value)
        return value

    @field_validator("allowed_origins")
    @classmethod
    def _origins(cls, value: str) -> str:
        origins.parse_list(value)
        return value


def env_example(cls: type[ServiceSettings]) -> str:
    """Return the text of `.env.example`: every setting with its description and default."""
    lines = [
        "# Generated from the settings class; a test compares it. Secrets are files, not settings."
    ]
    for name, field in cls.model_fields.items():
        default = "" if field.default is PydanticUndefined else field.default
        lines += ["", f"# {field.description}", f"{ENV_PREFIX}{name.upper()}={default}"]
    return "\n".join(lines) + "\n"
