"""The settings of chat."""

from pathlib import Path

from pydantic import Field

from ashchat_core.settings import ServiceSettings


class Settings(ServiceSettings):
    """Where others are; everything secret is a file."""

    jwks_file: Path = Field(
        Path("/etc/ashchat/jwks/jwks.json"),
        description="The public keys of access tokens (JWKS), read again for an unknown key.",
    )
    access_token_minutes: int = Field(
        20,
        ge=1,
        le=60,
        description="Life of an access token, as in auth: so long a revoked session is remembered.",
    )
    allowed_origins: str = Field(
        "",
        description="Origins (comma-separated) whose pages may open sockets; empty: pages of the"
        " host that is asked.",
    )
    static_url: str = Field(
        "http://localhost:8081", description="Base URL of static, where photos are kept."
    )
    upload_max_bytes: int = Field(
        8 * 1024 * 1024, ge=1, description="The largest photo, in bytes, form and all."
    )
