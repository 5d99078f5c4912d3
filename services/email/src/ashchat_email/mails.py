"""Mails: one autoescaped layout, one file of words per language.

Rendering is pure; sending is `smtp`'s.
"""

import tomllib
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from functools import cache
from importlib.resources import files
from typing import Literal

from jinja2 import PackageLoader, StrictUndefined
from jinja2.sandbox import SandboxedEnvironment

Kind = Literal["sign_up", "address_taken", "new_device"]

DEFAULT_LANGUAGE = "en"


@dataclass(frozen=True, slots=True)
class Mail:
    """What a mail says, to whom, and in which language."""

    kind: Kind
    to: str
    name: str
    language: str
    code: str | None
    message_id: str
    at: datetime


@cache
def _environment() -> SandboxedEnvironment:
    return SandboxedEnvironment(
        loader=PackageLoader("ashchat_email"),
        autoescape=lambda name: bool(name and name.endswith(".html")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def languages() -> frozenset[str]:
    """Return the languages there are words in."""
    folder = files("ashchat_email").joinpath("templates/words")
    return frozenset(
        item.name.removesuffix(".toml") for item in folder.iterdir() if item.name.endswith(".toml")
    )


@cache
def words(language: str) -> dict[str, dict[str, str]]:
    """Return a language's words; those of English where there are none."""
    primary = language.split("-", maxsplit=1)[0].lower()
    chosen = primary if primary in languages() else DEFAULT_LANGUAGE
    file = files("ashchat_email").joinpath(f"templates/words/{chosen}.toml")
    return tomllib.loads(file.read_text(encoding="utf-8"))


def compose(mail: Mail, *, sender: str, product: str, minutes: int) -> EmailMessage:
    """Return the mail, text and HTML. The same mail twice is the same Message-ID."""
    texts = words(mail.language)
    say = {
        key: value.format(name=mail.name, product=product, minutes=minutes)
        for key, value in {**texts["common"], **texts[mail.kind]}.items()
    }
    values = {"say": say, "code": mail.code, "product": product}
    message = EmailMessage()
    message["Subject"] = say["subject"]
    sender_name, sender_address = parseaddr(sender)
    message["From"] = Address(sender_name, addr_spec=sender_address)
    message["To"] = Address(addr_spec=mail.to)
    message["Date"] = format_datetime(mail.at)
    message["Message-ID"] = f"<{mail.message_id}@{sender_address.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834
    message["Content-Language"] = say["language"]
    message.set_content(_environment().get_template("mail.txt").render(values))
    message.add_alternative(_environment().get_template("mail.html").render(values), subtype="html")
    return message
