"""The settings of chat."""

from pathlib import Path

from pydantic import Field

from ashchat_core.settings import PublicSettings


class Settings(PublicSettings):
    """Keys, origins and addresses; secrets are files."""

    jwks_file: Path = Field(
        Path("/etc/ashchat/jwks/jwks.json"),
        description="Public keys that verify access tokens (JWKS); read again for an unknown key.",
    )
    access_token_minutes: int = Field(
        20,
        ge=1,
        le=60,
        description="Lifetime of an access token, as in auth, in minutes; revoked sessions are "
        "stored for as long.",
    )
    requests_per_network_per_minute: int = Field(
        30_000,
        ge=1,
        description="Maximum HTTP requests of one network to one process, including those that "
        "open sockets, per minute.",
    )
    stored_characters_per_account_per_day: int = Field(
        10_000_000,
        ge=1,
        description="Maximum characters that an account stores per day in messages, edits and "
        "reactions, each of which counts as 250 more than its text.",
    )
    group_members_max: int = Field(
        1_000, ge=2, le=10_000, description="Maximum members of a group."
    )
    static_url: str = Field(
        "http://localhost:8081", description="Base URL of static, which stores photos."
    )
    upload_max_bytes: int = Field(
        8 * 1024 * 1024, ge=1, description="Maximum size of a photo, including the form, in bytes."
    )
