"""Language tags (BCP 47, RFC 5646): their spelling, and which ones a reader understands alike.

There are two rules of sameness, one for each service that has to decide. They differ for
Chinese: `same_reader` treats every two tags of Chinese as different, `same_script` compares
their scripts, so that only the latter treats "zh-TW" and "zh-Hant" as the same.
"""

import re
from typing import Final

UNKNOWN: Final = "und"
"""BCP 47's tag for an undetermined language."""

_MIXED_CASE: Final = re.compile(r"^([A-Za-z]{2,3})((?:-[A-Za-z0-9]{2,8})*)$")
_LOWER_CASE: Final = re.compile(r"[a-z]{2,3}(-[a-z0-9]{2,8})*")
_TRADITIONAL_CHINESE: Final = frozenset({"hant", "tw", "hk", "mo"})


def normalise(tag: str | None) -> str:
    """Return a tag with its primary subtag in lower case; UNKNOWN if it is not a valid tag.

    The other subtags stay as they are ("zh-TW").
    """
    match = _MIXED_CASE.match(tag.strip()) if tag else None
    return f"{match[1].lower()}{match[2]}" if match else UNKNOWN


def lower(tag: str) -> str | None:
    """Return a tag in lower case with "-" between its subtags; None if it is not a valid tag."""
    spelled = tag.strip().lower().replace("_", "-")
    return spelled if _LOWER_CASE.fullmatch(spelled) else None


def primary(tag: str) -> str:
    """Return a tag's primary subtag: "pt" of "pt-br"."""
    return tag.partition("-")[0]


def is_traditional_chinese(tag: str) -> bool:
    """Return whether a lower-case tag of Chinese names the traditional script, or its region."""
    return not _TRADITIONAL_CHINESE.isdisjoint(tag.split("-"))


def same_reader(one: str, other: str) -> bool:
    """Return whether a reader of one tag needs no translation from the other.

    Regions do not matter, except for Chinese, where only equal tags are the same.
    """
    if one == other:
        return True
    if one.startswith("zh") or other.startswith("zh"):
        return False
    return primary(one) == primary(other)


def same_script(one: str, other: str) -> bool:
    """Return whether two lower-case tags are one language in one script.

    Regions do not matter ("pt", "pt-br"); the two scripts of Chinese do.
    """
    if primary(one) != primary(other):
        return False
    return primary(one) != "zh" or is_traditional_chinese(one) == is_traditional_chinese(other)


def targets(source: str, readers: list[str]) -> tuple[str, ...]:
    """Return the languages that a text must be translated into for its readers, sorted."""
    return tuple(
        sorted({tag for tag in readers if tag != UNKNOWN and not same_reader(tag, source)})
    )
