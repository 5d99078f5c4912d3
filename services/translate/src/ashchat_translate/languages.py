"""Language tags: what the clients send, what Google wants, what Apertium wants.

Clients send BCP 47 tags (RFC 5646), usually a bare ISO 639-1 code ("es") and sometimes
with a region or script ("pt-BR", "zh-Hant"). Google takes BCP 47 nearly as it is
(https://docs.cloud.google.com/translate/docs/languages); Apertium takes ISO 639-3 with an
underscore before a variant ("por", "por_BR").
"""

import re
from typing import Final

_TAG: Final = re.compile(r"[a-z]{2,3}(-[a-z0-9]{2,8})*")

# ISO 639-1 → ISO 639-3 (https://iso639-3.sil.org/code_tables/639/data): the client's 17
# languages first, then what else Apertium's released pairs speak.
_TO_639_3: Final[dict[str, str]] = {
    "en": "eng", "es": "spa", "fr": "fra", "pt": "por", "de": "deu", "it": "ita",
    "nl": "nld", "ru": "rus", "ja": "jpn", "zh": "zho", "ko": "kor", "ar": "ara",
    "tr": "tur", "hi": "hin", "bn": "ben", "ur": "urd", "vi": "vie",
    "af": "afr", "an": "arg", "be": "bel", "bg": "bul", "br": "bre", "ca": "cat",
    "cy": "cym", "da": "dan", "eo": "epo", "eu": "eus", "gl": "glg", "hr": "hrv",
    "id": "ind", "is": "isl", "kk": "kaz", "mk": "mkd", "ms": "msa", "mt": "mlt",
    "nb": "nob", "nn": "nno", "oc": "oci", "pl": "pol", "ro": "ron", "sc": "srd",
    "sl": "slv", "sr": "srp", "sv": "swe", "tt": "tat", "uk": "ukr",
}  # fmt: skip

_CHINESE_TRADITIONAL: Final = frozenset({"hant", "tw", "hk", "mo"})


def normal(tag: str) -> str | None:
    """Return the tag in the one spelling used inside (lower case, "-"); None: not a tag."""
    spelled = tag.strip().lower().replace("_", "-")
    return spelled if _TAG.fullmatch(spelled) else None


def primary(tag: str) -> str:
    """Return the language itself: "pt" of "pt-br"."""
    return tag.split("-", 1)[0]


def same(one: str, other: str) -> bool:
    """Tell whether a reader of one reads the other without translation.

    Regions do not matter ("pt", "pt-br"), the two scripts of Chinese do.
    """
    if primary(one) != primary(other):
        return False
    return primary(one) != "zh" or _traditional(one) == _traditional(other)


def _traditional(tag: str) -> bool:
    return not _CHINESE_TRADITIONAL.isdisjoint(tag.split("-"))


def google(tag: str) -> str:
    """Return Google's code: the language, with a script only where Google tells them apart."""
    if primary(tag) == "zh":
        return "zh-TW" if _traditional(tag) else "zh-CN"
    return primary(tag)


def apertium(tag: str) -> str:
    """Return Apertium's code: ISO 639-3, the language only.

    A tag without a two-letter code ("srd") is ISO 639-3 already.
    """
    code = primary(tag)
    return _TO_639_3.get(code, code)


def from_apertium(code: str) -> str:
    """Return the ISO 639-3 code of one of Apertium's: "por" of "por_BR", "spa" of "es".

    Older pairs list themselves by ISO 639-1, and some sides are variants (Brazilian
    Portuguese); to a reader of the language a variant is better than nothing.
    """
    language = code.split("_", 1)[0]
    return _TO_639_3.get(language, language)
