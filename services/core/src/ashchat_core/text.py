"""Text from people: one rule of all services for what is understood, and what is displayed.

What people type or paste in good faith is understood: text is composed (NFC), blanks around it are
removed, and so are characters that are never visible and have no effect where they are. What could
deceive its readers is an error: control characters, text that nobody can see, and directional
formatting that would reach beyond the text.

`unicodedata` has no properties such as Default_Ignorable_Code_Point or scripts, hence `regex`.
(RFC 8266, the profile for nicknames of PRECIS, would reject emoji and Persian names: they contain
joiners and variation selectors.)
"""

import unicodedata
from typing import Final

import email_validator
import regex

EMAIL_MAX_CHARS: Final = 254
"""Maximum length: RFC 5321, section 4.5.3.1.3, and erratum 1690 of RFC 3696."""

# An organisation's own mail domain may be under .local or .internal.
email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()

_BLANKS: Final = "".join(filter(str.isspace, map(chr, range(0x3001)))) + "\u2800\u3164\uffa0"
"""White space, the Braille pattern without dots, and fillers of Hangul, which look like it."""

_JOINERS: Final = "\u200c\u200d"
_MARKS: Final = "\u061c\u200e\u200f"
"""Directional marks, which have no effect at the ends of a text."""

_VARIATION: Final = regex.compile(r"\p{Variation_Selector}")
_TAG: Final = regex.compile(r"[\U000E0000-\U000E00FF]")
_BLACK_FLAG: Final = "\U0001f3f4"
"""Begins the flag of a region, which is spelled with tags (UTS 51, ED-14)."""

_IGNORABLE: Final = regex.compile(
    r"[\p{Default_Ignorable_Code_Point}--[\u061C\u200E\u200F\u202A-\u202E\u2066-\u2069]]",
    flags=regex.V1,
)
"""What is never visible, except directional formatting."""

_JOINED: Final = regex.compile(
    r"[[\p{L}--[\p{Latin}\p{Greek}\p{Cyrillic}\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}]]"
    r"\p{Extended_Pictographic}\p{Emoji_Modifier}]",
    flags=regex.V1,
)
"""What joiners have an effect on: emoji, and letters of other scripts (RFC 5892, A.1 and A.2)."""

_NO_BASE: Final = regex.compile(r"[\p{M}\p{C}]")
"""What joiners and variation selectors do not refer to.

By the tables of `regex`, as all rules here: those of `unicodedata` are of another version of
Unicode, which lacks the newest letters.
"""

_FORBIDDEN: Final = regex.compile(
    r"[[\p{Cc}\p{Cs}\p{Noncharacter_Code_Point}\p{Zl}\p{Zp}\uFFF9-\uFFFB\u202D\u202E]--[\n]]",
    flags=regex.V1,
)
"""Control characters, halves of characters, and overrides of the direction.

An override displays letters in another order than they are stored in; no language needs it."""

_VISIBLE: Final = regex.compile(
    rf"[[\p{{L}}\p{{N}}\p{{P}}\p{{S}}]--[{_BLANKS}\p{{Default_Ignorable_Code_Point}}]]",
    flags=regex.V1,
)
EMOJI_MAX_CHARS: Final = 32
"""Maximum length of one emoji; the longest flags and families have about half of it."""

_PICTURE: Final = r"\p{Extended_Pictographic}(?:\uFE0F|\p{Emoji_Modifier})?[\U000E0020-\U000E007F]*"
_EMOJI: Final = regex.compile(
    rf"{_PICTURE}(?:\u200D{_PICTURE})*|\p{{Regional_Indicator}}{{2}}|[0-9#*]\uFE0F?\u20E3",
    flags=regex.V1,
)

_SPACES: Final = regex.compile(f"[{_BLANKS}]+")

_OPENING: Final = {"\u202a": "\u202c", "\u202b": "\u202c"} | dict.fromkeys(
    "\u2066\u2067\u2068", "\u2069"
)
"""Directional formatting that begins an embedding or isolate, and what ends it (UAX 9, 2)."""

_CLOSING: Final = frozenset(_OPENING.values())

_SEPARATORS: Final = regex.compile(r"[\s\p{Pd}\p{Default_Ignorable_Code_Point}._]+")
"""What people type or paste between the letters of a code."""


class UnacceptableTextError(ValueError):
    """The text cannot be displayed, or is not what it should be."""


def is_visible(text: str) -> bool:
    """Return whether a reader sees anything of a text: not only blanks, and what has no width."""
    return _VISIBLE.search(text) is not None


def is_emoji(text: str) -> bool:
    """Return whether a text is one displayed emoji: a sequence, a flag or a keycap (UTS 51)."""
    return len(text) <= EMOJI_MAX_CHARS and _EMOJI.fullmatch(text) is not None


def line(text: str) -> str:
    """Return a name or another single line as it is stored and displayed.

    Raises:
        UnacceptableTextError: nobody could see it, or it would deceive its readers.
    """
    found = _clean(text.replace("\t", " "))
    if "\n" in found:
        raise UnacceptableTextError("has several lines")
    if not _VISIBLE.search(found):
        raise UnacceptableTextError("has no visible characters")
    return " ".join(_SPACES.split(found))


def optional_line(text: str) -> str:
    """Return a single line, or an empty text if nobody could see it.

    Raises:
        UnacceptableTextError: it would deceive its readers.
    """
    return line(text) if _VISIBLE.search(_clean(text.replace("\t", " "))) else ""


def paragraphs(text: str) -> str:
    """Return a text of any number of lines as it is stored and displayed; empty if it is invisible.

    Raises:
        UnacceptableTextError: it would deceive its readers.
    """
    unified = regex.sub(r"\r\n?|\u2028|\u2029|\u0085", "\n", text).replace("\t", " ")
    found = _clean(unified)
    return found if _VISIBLE.search(found) else ""


def code(text: str) -> str:
    """Return a code of digits: without separators, its digits of any script as ASCII."""
    letters = _SEPARATORS.sub("", unicodedata.normalize("NFKC", text))
    return "".join(
        str(unicodedata.decimal(letter)) if letter.isdecimal() else letter for letter in letters
    )


def letters_code(text: str) -> str:
    """Return a code of letters and digits: without separators, in lower case."""
    return code(text).casefold()


def address(text: str) -> str:
    """Return an e-mail address (RFC 5321), its domain as in the DNS.

    Not every mail server accepts a local part with non-ASCII characters (RFC 6531), so such an
    address could not be confirmed.

    Raises:
        UnacceptableTextError: not a valid address.
    """
    typed = _trimmed(unicodedata.normalize("NFKC", text))
    try:
        valid = email_validator.validate_email(
            typed, check_deliverability=False, allow_smtputf8=False
        )
    except email_validator.EmailNotValidError as error:
        raise UnacceptableTextError("not an e-mail address") from error
    return valid.ascii_email or valid.normalized


def address_key(text: str) -> str:
    """Return the key by which addresses are compared and unique: case does not matter."""
    return text.strip().casefold()


def tag(text: str) -> str:
    """Return a user's tag as it is stored: people also type it in capitals, or with an @."""
    return _clean(unicodedata.normalize("NFKC", text)).removeprefix("@").lower()


def _clean(text: str) -> str:
    """Return a text composed, without blanks around it and characters without effect."""
    found = _trimmed(text)
    if _FORBIDDEN.search(found):
        raise UnacceptableTextError("has control characters")
    if not all(map(_balanced, found.split("\n"))):
        raise UnacceptableTextError("has directional formatting that is not closed")
    return unicodedata.normalize("NFC", found)


def _trimmed(text: str) -> str:
    """Return a text without blanks around it and characters without effect, in linear time."""
    kept: list[str] = []
    base = ""  # the last character that joiners and variation selectors may refer to
    for letter in text:
        if not _IGNORABLE.match(letter):
            if letter in _BLANKS:
                _drop_joiners(kept)
                base = ""
            elif not _NO_BASE.match(letter):
                base = letter
            kept.append(letter)
        elif _has_effect(letter, base, kept):
            kept.append(letter)
    return "".join(kept).lstrip(_BLANKS + _MARKS).rstrip(_BLANKS + _MARKS + _JOINERS)


def _has_effect(letter: str, base: str, kept: list[str]) -> bool:
    """Return whether an ignorable character changes how the text is displayed."""
    if letter in _JOINERS:
        return bool(base and _JOINED.match(base)) and kept[-1] not in _JOINERS
    if letter in _BLANKS:
        return True
    if _VARIATION.match(letter):
        return bool(base) and not _VARIATION.match(kept[-1])
    return base == _BLACK_FLAG and bool(_TAG.match(letter))


def _drop_joiners(kept: list[str]) -> None:
    while kept and kept[-1] in _JOINERS:
        kept.pop()


def _balanced(paragraph: str) -> bool:
    """Return whether embeddings and isolates end within the paragraph, in order."""
    expected: list[str] = []
    for letter in paragraph:
        if letter in _OPENING:
            expected.append(_OPENING[letter])
        elif letter in _CLOSING and (not expected or expected.pop() != letter):
            return False
    return not expected
