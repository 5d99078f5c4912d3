"""The settings of email."""

from typing import Literal

from pydantic import Field

from ashchat_core.settings import ServiceSettings


class Settings(ServiceSettings):
    """Where and how mails are handed over; the login, if any, is a credential file."""

    smtp_host: str = Field("localhost", description="The mail server.")
    smtp_port: int = Field(1025, description="Its port: 25, 465 (tls) or 587 (starttls).")
    smtp_security: Literal["none", "starttls", "tls"] = Field(
        "none", description="none, starttls or tls."
    )
    smtp_from: str = Field("AshChat <no-reply@localhost>", description="The sender.")
    product_name: str = Field("AshChat", description="What mails call the platform.")
