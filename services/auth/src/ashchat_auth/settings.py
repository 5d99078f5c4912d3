"""The settings of auth."""

from pathlib import Path

from pydantic import Field

from ashchat_core.settings import ServiceSettings


class Settings(ServiceSettings):
    """Keys and limits; everything secret is a file."""

    signing_keys_dir: Path = Field(
        Path("/etc/ashchat/signing-keys"),
        description="Folder of <kid>.pem (EC P-256, PKCS 8) and `active`, the kid that signs.",
    )
    access_token_minutes: int = Field(
        20, ge=1, le=60, description="Life of an access token, in minutes."
    )
    refresh_token_days: int = Field(
        30, ge=1, le=365, description="Life of an unused refresh token, in days."
    )
    sign_ups_per_hour: int = Field(
        20, ge=1, description="Sign-ups from one network address, per hour."
    )
    sign_in_tries_per_quarter: int = Field(
        10, ge=1, description="Failed sign-ins of one account from one address, per 15 minutes."
    )
    device_codes_per_hour: int = Field(
        20, ge=1, description="Codes for new devices mailed to one account, per hour."
    )
    code_tries_per_quarter: int = Field(
        60, ge=1, description="Tries of mailed codes for one account from one address, per 15 min."
    )
