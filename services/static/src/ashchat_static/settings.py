"""Settings of the static service."""

from pathlib import Path

from pydantic import Field

from ashchat_core.settings import PublicSettings


class Settings(PublicSettings):
    """The volume, the limit and the keys; secrets are files."""

    uploads_dir: Path = Field(
        Path("/var/lib/ashchat/uploads"), description="Folder (a volume) that stores the uploads."
    )
    upload_max_bytes: int = Field(
        10 * 1024 * 1024, gt=0, description="Maximum size of an upload, in bytes."
    )
    stored_bytes_per_account: int = Field(
        1024 * 1024 * 1024, gt=0, description="Maximum bytes that an account may store."
    )
    requests_per_network_per_minute: int = Field(
        60_000,
        ge=1,
        description="Maximum HTTP requests of one network to one pod per minute.",
    )
    uploads_per_day: int = Field(
        500, gt=0, description="Maximum uploads of an account per day, rejected ones included."
    )
    jwks_file: Path = Field(
        Path("/etc/ashchat/jwks/jwks.json"),
        description="Public keys that verify access tokens (JWKS); read again when the "
        "file changes.",
    )
    public_url: str = Field("", description="The platform's public URL; empty: links are relative.")
