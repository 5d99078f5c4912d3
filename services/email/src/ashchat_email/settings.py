"""The settings of email."""

from typing import Literal

from pydantic import Field

from ashchat_core.settings import ServiceSettings


class Settings(ServiceSettings):
    """The mail server; the login, if any, is a pair of credential files."""

    smtp_host: str = Field("localhost", description="The mail server.")
    smtp_port: int = Field(
        1025, description="The mail server's port: 25, 465 (tls) or 587 (starttls)."
    )
    smtp_security: Literal["none", "starttls", "tls"] = Field(
        "none",
        description="none, starttls or tls; with none, no login is sent.",
    )
    smtp_ca_file: str = Field(
        "", description="PEM file of the CAs that verify the mail server; empty: the public CAs."
    )
    smtp_from: str = Field("AshChat <no-reply@localhost>", description="The sender of mails.")
    mails_per_address_per_day: int = Field(
        500, ge=1, description="Maximum mails to one address per day; further ones are dropped."
    )
    mails_per_day: int = Field(
        100_000, ge=1, description="Maximum mails per day; further ones are dropped."
    )
    product_name: str = Field("AshChat", description="The platform's name in mails.")
