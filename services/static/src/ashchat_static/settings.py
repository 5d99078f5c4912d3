"""Settings of the static service."""

from pathlib import Path

from pydantic import Field

from ashchat_core.settings import ServiceSettings


class Settings(ServiceSettings):
    """What only the static service has."""

    uploads_dir: Path = Field(
        Path("/var/lib/ashchat/uploads"), description="Folder (a volume) that keeps the uploads."
    )
    upload_max_bytes: int = Field(
        10 * 1024 * 1024, gt=0, description="The largest upload, in bytes."
    )
    jwks_file: Path = Field(
        Path("/etc/ashchat/jwks/jwks.json"),
        description="Public keys that access tokens are verified by; read again on change.",
    )
    public_url: str = Field(
        "", description="The platform's address as people see it; empty: links stay relative."
    )
