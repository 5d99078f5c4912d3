"""Mails: one autoescaped layout, one file of words per language.

What a mail says, and in which order, is decided once, in `_parts`; the two templates only
set it, as HTML and as text. Rendering is pure; sending is `smtp`'s.

What comes from people (a name, an address) and what runs from left to right (a date, a
product's name) is isolated, so that it cannot reorder the text around it in either
direction: `bdi` in HTML, FSI and PDI in text (Unicode Standard Annex #9, section 2.4).
"""

import tomllib
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from functools import cache
from importlib.resources import files
from typing import Literal

from jinja2 import PackageLoader, StrictUndefined
from jinja2.sandbox import SandboxedEnvironment
from markupsafe import Markup, escape

from ashchat_core.messages import SecurityEventKind

CodeKind = Literal["sign_up", "new_device", "reset", "change_old", "change_new"]
"""Mails that carry a code."""

TakenKind = Literal["address_taken", "change_taken"]
"""Mails to the owner of an address that somebody else gave as theirs."""

Kind = CodeKind | TakenKind | SecurityEventKind

DEFAULT_LANGUAGE = "en"

NAME_MAX_CHARS = 64
"""A longer name is not greeted by."""

_ISOLATE, _END_OF_ISOLATE = "\u2068", "\u2069"

_LINKING = frozenset("/:@.")
"""What mail programs make links of. A stranger's sign-up must not carry an advertisement."""

_DIRECTIONAL = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


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
    address: str = ""
    """The other address, where the mail speaks of one."""


@dataclass(frozen=True, slots=True)
class Part:
    """One paragraph."""

    role: Literal["says", "code", "quiet"]
    text: str


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
def words(language: str) -> Mapping[str, Mapping[str, str]]:
    """Return a language's words; those of English where there are none."""
    whole = language.replace("_", "-").lower()
    primary = whole.partition("-")[0]
    chosen = next((tag for tag in (whole, primary) if tag in languages()), DEFAULT_LANGUAGE)
    file = files("ashchat_email").joinpath(f"templates/words/{chosen}.toml")
    return tomllib.loads(file.read_text(encoding="utf-8"))


def compose(mail: Mail, *, sender: str, product: str, minutes: int) -> EmailMessage:
    """Return the mail, text and HTML. The same mail twice is the same Message-ID."""
    texts = words(mail.language)
    common, own = texts["common"], texts[mail.kind]
    values = {
        "name": _name(mail.name),
        "address": mail.address,
        "product": product,
        "minutes": str(minutes),
        "at": mail.at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }
    subject = own["subject"].format(**values)
    message = EmailMessage()
    message["Subject"] = subject
    sender_name, sender_address = parseaddr(sender)
    message["From"] = Address(sender_name, addr_spec=sender_address)
    username, _, domain = mail.to.rpartition("@")
    message["To"] = Address(username=username, domain=domain)
    message["Date"] = format_datetime(mail.at)
    message["Message-ID"] = f"<{mail.message_id}@{sender_address.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834

    def rendered(template: str, fill: Callable[[str], str]) -> str:
        return (
            _environment()
            .get_template(template)
            .render(
                subject=subject,
                language=common["language"],
                direction=common["direction"],
                parts=list(_parts(mail, common, own, fill)),
            )
        )

    plain = {key: _isolated(value, common["direction"]) for key, value in values.items()}
    marked = {key: Markup("<bdi>{}</bdi>").format(value) for key, value in values.items()}
    message.set_content(rendered("mail.txt", lambda text: text.format(**plain)))
    message.add_alternative(
        rendered("mail.html", lambda text: escape(text).format(**marked)), subtype="html"
    )
    # Last: to make the alternative, the library moves the content headers into the first part.
    message["Content-Language"] = common["language"]
    return message


def _parts(
    mail: Mail, common: Mapping[str, str], own: Mapping[str, str], fill: Callable[[str], str]
) -> Iterator[Part]:
    """Yield the paragraphs of a mail, filled in."""
    yield Part("says", fill(common["greeting" if _name(mail.name) else "greeting_unnamed"]))
    yield Part("says", fill(own["body"]))
    if mail.code is not None:
        yield Part("code", mail.code)
        yield Part("says", fill(common["lifetime"]))
    else:
        yield Part("says", fill(common["when"]))
    yield Part("quiet", fill(own["advice"]))
    yield Part("says", fill(common["sign_off"]))


def _name(given: str) -> str:
    """Return a name that is safe to greet by; empty: greet without one."""
    name = "".join(
        letter
        for letter in given
        if letter not in _DIRECTIONAL and unicodedata.category(letter) not in {"Cc", "Zl", "Zp"}
    ).strip()
    return "" if len(name) > NAME_MAX_CHARS or _LINKING & set(name) else name


def _isolated(value: str, direction: str) -> str:
    """Return a value of a text that must not reorder what stands around it."""
    against = {"L"} if direction == "rtl" else {"R", "AL"}
    if any(unicodedata.bidirectional(letter) in against for letter in value):
        return f"{_ISOLATE}{value}{_END_OF_ISOLATE}"
    return value
