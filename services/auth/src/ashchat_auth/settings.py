"""The settings of auth."""

from pathlib import Path

from pydantic import Field

from ashchat_core.settings import PublicSettings


class Settings(PublicSettings):
    """Keys and limits; secrets are files."""

    signing_keys_dir: Path = Field(
        Path("/etc/ashchat/signing-keys"),
        description="Folder of <kid>.pem (EC P-256, PKCS 8) and `active`, the kid of the "
        "signing key.",
    )
    key_ring_dir: Path = Field(
        Path("/etc/ashchat/key-ring"),
        description="Folder of <version>.key (32 bytes in hex) and `active`, the version "
        "that seals.",
    )
    product_name: str = Field("AshChat", description="The site's name in authenticators.")
    access_token_minutes: int = Field(
        20, ge=1, le=60, description="Lifetime of an access token, in minutes."
    )
    refresh_token_days: int = Field(
        30, ge=1, le=365, description="Lifetime of an unused refresh token, in days."
    )
    session_days: int = Field(180, ge=1, le=730, description="Maximum age of a session, in days.")
    security_event_days: int = Field(
        180, ge=1, le=730, description="How long a security event is stored, in days."
    )
    sign_ups_per_hour: int = Field(
        20, ge=1, description="Maximum sign-ups from one network per hour."
    )
    sign_in_tries_per_quarter: int = Field(
        10,
        ge=1,
        description="Maximum failed sign-ins to one account from one network per 15 minutes.",
    )
    sign_in_tries_per_network: int = Field(
        300, ge=1, description="Maximum failed sign-ins from one network per 15 minutes."
    )
    stranger_tries_per_hour: int = Field(
        100,
        ge=1,
        description="Maximum failed sign-ins to one account from unknown devices per hour.",
    )
    mails_per_address: int = Field(
        3,
        ge=1,
        description="Maximum codes per 3 minutes that clients without a session have "
        "mailed to one address.",
    )
    device_codes_per_hour: int = Field(
        20, ge=1, description="Maximum codes for new devices mailed to one account per hour."
    )
    code_tries_per_quarter: int = Field(
        60,
        ge=1,
        description="Maximum attempts at codes for one account from one network per 15 minutes.",
    )
