"""Renders mails: one autoescaped layout, one file of texts per language.

`_parts` decides the content and its order; the two templates render it as HTML and as text.
Rendering is pure; `smtp` sends.

User input (a name, an address) and left-to-right text (a date, a product name) is isolated, so
that it cannot reorder the surrounding text in either direction: `bdi` in HTML, FSI and PDI in
text (Unicode Standard Annex #9, section 2.4).
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
from typing import Final, Literal

from jinja2 import PackageLoader, StrictUndefined
from jinja2.sandbox import SandboxedEnvironment
from markupsafe import Markup, escape

from ashchat_core.languages import canonical
from ashchat_core.languages import language as language_of
from ashchat_core.messages import SecurityEventKind

CodeKind = Literal["sign_up", "new_device", "reset", "change_old", "change_new"]
"""Mails with a code."""

TakenKind = Literal["address_taken", "change_taken"]
"""Mails to the owner of an address that another person entered."""

Kind = CodeKind | TakenKind | SecurityEventKind

DEFAULT_LANGUAGE: Final = "en"

NAME_MAX_CHARS: Final = 64
"""Maximum length of a name in the greeting."""

_ISOLATE, _END_OF_ISOLATE = "\u2068", "\u2069"

_LINKING: Final = frozenset("/:@.")
"""Characters that mail clients turn into links: a sign-up must not send advertisements."""

_DIRECTIONAL: Final = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)


@dataclass(frozen=True, slots=True)
class Mail:
    """The content, recipient and language of a mail."""

    kind: Kind
    to: str
    name: str
    language: str
    code: str | None
    message_id: str
    at: datetime
    address: str = ""
    """The other address, if the mail mentions one."""


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
    """Return the languages that have texts."""
    folder = files("ashchat_email").joinpath("templates/words")
    return frozenset(
        item.name.removesuffix(".toml") for item in folder.iterdir() if item.name.endswith(".toml")
    )


@cache
def words(language: str) -> Mapping[str, Mapping[str, str]]:
    """Return the texts in a language, or in English if there are none."""
    tag = canonical(language)
    names = (tag.lower(), language_of(tag))
    chosen = next((name for name in names if name in languages()), DEFAULT_LANGUAGE)
    file = files("ashchat_email").joinpath(f"templates/words/{chosen}.toml")
    return tomllib.loads(file.read_text(encoding="utf-8"))


def compose(mail: Mail, *, sender: str, product: str, minutes: int) -> EmailMessage:
    """Return the message, as text and HTML. The same mail always has the same Message-ID."""
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
    # Last, because add_alternative moves the content headers into the first part.
    message["Content-Language"] = common["language"]
    return message


def _parts(
    mail: Mail, common: Mapping[str, str], own: Mapping[str, str], fill: Callable[[str], str]
) -> Iterator[Part]:
    """Yield the paragraphs of a mail."""
    yield Part("says", fill(common["greeting" if _name(mail.name) else "greeting_unnamed"]))
    yield Part("says", fill(own["body"]))
    if mail.code is not None:
        yield Part("code", mail.code)
        yield Part("says", fill(common["lifetime"]))
    else:
        yield Part("says", fill(common["when"]))
    yield Part("quiet", fill(own["advice"]))
    yield Part("says", fill(common["sign_off"]))


def _name(name: str) -> str:
    """Return a name that is safe in a greeting; empty: greet without a name."""
    safe = "".join(
        letter
        for letter in name
        if letter not in _DIRECTIONAL and unicodedata.category(letter) not in {"Cc", "Zl", "Zp"}
    ).strip()
    return "" if len(safe) > NAME_MAX_CHARS or _LINKING & set(safe) else safe


def _isolated(value: str, direction: str) -> str:
    """Return a value that does not reorder the surrounding text."""
    against = {"L"} if direction == "rtl" else {"R", "AL"}
    if any(unicodedata.bidirectional(letter) in against for letter in value):
        return f"{_ISOLATE}{value}{_END_OF_ISOLATE}"
    return value
