"""The settings of email."""

from typing import Literal

from pydantic import Field

from ashchat_core.settings import ServiceSettings


class Settings(ServiceSettings):
    """Where and how mails are handed over; the login, if any, is a pair of credential files."""

    smtp_host: str = Field("localhost", description="The mail server.")
    smtp_port: int = Field(1025, description="Its port: 25, 465 (tls) or 587 (starttls).")
    smtp_security: Literal["none", "starttls", "tls"] = Field(
        "none",
        description="none, starttls or tls; with none no login is sent, whatever lies there.",
    )
    smtp_ca_file: str = Field(
        "", description="PEM file of the CAs the mail server is trusted by; empty: the public ones."
    )
    smtp_from: str = Field("AshChat <no-reply@localhost>", description="The sender.")
    product_name: str = Field("AshChat", description="What mails call the platform.")
