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
    requests_per_network_per_minute: int = Field(
        6_000, ge=1, description="Maximum HTTP requests of one network to one pod per minute."
    )
    code_mails_per_network_per_day: int = Field(
        2_000,
        ge=1,
        description="Maximum codes that clients without a session in one network have mailed, "
        "per day.",
    )
    code_mails_per_day: int = Field(
        20_000,
        ge=1,
        description="Maximum codes that all clients without a session have mailed, per day.",
    )
    code_mails_per_address_per_day: int = Field(
        50,
        ge=1,
        description="Maximum codes of one kind that clients without a session have mailed to "
        "one address, per day.",
    )
    device_codes_per_hour: int = Field(
        20, ge=1, description="Maximum codes for new devices mailed to one account per hour."
    )
    wrong_passwords_per_quarter: int = Field(
        10,
        ge=1,
        description="Maximum wrong passwords of one account per 15 minutes, from one of its "
        "devices or from one network.",
    )
    stranger_passwords_per_hour: int = Field(
        100,
        ge=1,
        description="Maximum wrong passwords of one account from unknown devices per hour.",
    )
    wrong_passwords_per_network_per_hour: int = Field(
        1_000,
        ge=1,
        description="Maximum wrong passwords from unknown devices in one network per hour.",
    )
    sign_ins_per_device_per_hour: int = Field(
        100, ge=1, description="Maximum sign-ins to an account on one of its devices per hour."
    )
    code_tries_per_quarter: int = Field(
        60,
        ge=1,
        description="Maximum wrong mailed codes for one account from one network per 15 minutes.",
    )
    wrong_codes_per_network_per_day: int = Field(
        300, ge=1, description="Maximum wrong mailed codes from one network per day."
    )
    wrong_second_factors_per_day: int = Field(
        20, ge=1, description="Maximum wrong codes of one account's authenticator per day."
    )
    devices_per_account: int = Field(
        50, ge=1, description="Maximum devices of an account; the oldest is forgotten."
    )
