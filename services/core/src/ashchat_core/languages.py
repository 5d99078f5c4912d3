"""Language tags (BCP 47, RFC 5646): the one rule of all services.

A tag is stored as language, script and region in the canonical spelling of RFC 5646, section
2.1.1 ("zh-Hant-TW"). Whether a reader of one tag understands another is decided by language and
script; a script that a tag does not name is the likely one (UTS 35, "Likely Subtags").

langcodes carries the subtag registry and CLDR's tables as Python, so no ICU library is needed.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from langcodes import Language, standardize_tag
from langcodes.tag_parser import LanguageTagError

UNKNOWN: Final = "und"
"""BCP 47's tag for an undetermined language."""

TAG_MAX_CHARS: Final = 35
"""Maximum length of an accepted tag: what RFC 5646, section 4.4.1, asks of implementations."""

_NO_LANGUAGE: Final = frozenset({"mis", "mul", "zxx"})
"""ISO 639-2's codes for uncoded, several, and no languages."""

_REMEMBERED_TAGS: Final = 4_096


@lru_cache(_REMEMBERED_TAGS)
def _canonical(tag: str) -> str:
    try:
        parsed = Language.get(standardize_tag(tag))
        name = parsed.language or ""
        # langcodes has a tag for private use ("x-klingon") as a language, too.
        if not (name.isalpha() and parsed.is_valid()) or name in _NO_LANGUAGE:
            return UNKNOWN
    except (LanguageTagError, ValueError):
        return UNKNOWN
    kept = Language.make(language=parsed.language, script=parsed.script, territory=parsed.territory)
    return kept.to_tag()


def canonical(tag: str | None) -> str:
    """Return a tag's language, script and region in canonical spelling.

    "pt_br" is "pt-BR", "iw" is "he", "de-DE-u-co-phonebk" is "de-DE". A tag that is too long, not
    well-formed, or has subtags that are not registered is UNKNOWN.
    """
    spelled = tag.strip() if tag and len(tag) <= TAG_MAX_CHARS + 2 else ""
    return _canonical(spelled) if spelled and len(spelled) <= TAG_MAX_CHARS else UNKNOWN


@lru_cache(_REMEMBERED_TAGS)
def _written(tag: str) -> tuple[str, str]:
    """Return a tag's language, a macrolanguage where it has one, and its likely script.

    Something else than a tag is understood by itself only.
    """
    if canonical(tag) == UNKNOWN:
        return tag, "Zyyy"
    likely = Language.get(standardize_tag(tag, macro=True)).maximize()
    return likely.language or UNKNOWN, likely.script or "Zyyy"


def language(tag: str) -> str:
    """Return a canonical tag's language: "pt" of "pt-BR", "zh" of "cmn-Hant"."""
    return _written(tag)[0]


def script(tag: str) -> str:
    """Return the script that a canonical tag is written in (ISO 15924): "Hant" of "zh-TW"."""
    return _written(tag)[1]


def has_usual_script(tag: str) -> bool:
    """Return whether a canonical tag's language is mostly written in the tag's script."""
    return script(tag) == script(language(tag))


@lru_cache(_REMEMBERED_TAGS)
def iso_639_3(tag: str) -> str:
    """Return the ISO 639-3 code of a tag's language: "spa" of "es-MX".

    What langcodes has no such code for is returned as it is.
    """
    try:
        return Language.get(tag).to_alpha3()
    except (LookupError, LanguageTagError):
        return tag.partition("-")[0]


def same(one: str, other: str) -> bool:
    """Return whether a reader of one canonical tag needs no translation from the other.

    Regions do not matter ("pt", "pt-BR"), scripts do ("sr-Latn", "sr-Cyrl").
    """
    return _written(one) == _written(other)


def targets(source: str, readers: Iterable[str]) -> tuple[str, ...]:
    """Return the languages that a text must be translated into for its readers, sorted."""
    return tuple(sorted({tag for tag in readers if tag != UNKNOWN and not same(tag, source)}))
