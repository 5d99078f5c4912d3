"""Checks that a translation must pass before it is shown.

Engines loop, return nothing, or return pages of text; the original is better for the reader
(observed in argos-translate#444 and LibreTranslate#806).
"""

from operator import eq
from typing import Final, Literal

Fault = Literal["empty", "too_long", "too_short", "repetitive"]

_GROWTH: Final = 4
_GROWTH_FROM_DENSE: Final = 12
"""Maximum growth for dense scripts: a CJK character becomes several letters."""
_SLACK_CHARS: Final = 60
_SHRINK: Final = 12
_SHRINK_FROM_CHARS: Final = 60

_MAX_PERIOD_CHARS: Final = 40
_LOOP_TIMES: Final = 6
_LOOP_CHARS: Final = 24
_CHECKED_CHARS: Final = 4_000
"""How much of the end of a text is checked; a loop fills the rest of a text."""


def fault(original: str, translation: str) -> Fault | None:
    """Return what is wrong with a translation, or None."""
    if original.strip() and not translation.strip():
        return "empty"
    dense = sum(map(_is_dense, original))
    allowed = _GROWTH * (len(original) - dense) + _GROWTH_FROM_DENSE * dense + _SLACK_CHARS
    if len(translation) > allowed:
        return "too_long"
    if len(original) > _SHRINK_FROM_CHARS and len(translation) * _SHRINK < len(original):
        return "too_short"
    looped = repeats(translation)
    if looped >= _LOOP_TIMES and looped > 2 * repeats(original):
        return "repetitive"
    return None


def repeats(text: str) -> int:
    """Return how often the most repeated substring directly follows itself; 1: never.

    Substrings have at most _MAX_PERIOD_CHARS, and the whole run has at least _LOOP_CHARS
    ("jajaja" is laughter). A text has the period p where it equals itself shifted by p; a run of
    r such places contains r // p + 1 copies.
    """
    text = text[-_CHECKED_CHARS:]
    most = 1
    if len(text) < _LOOP_CHARS:
        return most
    for period in range(1, min(_MAX_PERIOD_CHARS, len(text) // 2) + 1):
        equal = bytes(map(eq, text, text[period:]))
        longest = max(map(len, equal.split(b"\0")))
        if longest + period >= _LOOP_CHARS:
            most = max(most, longest // period + 1)
    return most


def _is_dense(char: str) -> bool:
    # CJK ideographs, kana and hangul: one character is a syllable or word.
    return (
        "\u3040" <= char <= "\u30ff"
        or "\u3400" <= char <= "\u9fff"
        or "\uac00" <= char <= "\ud7af"
        or "\U00020000" <= char <= "\U0003ffff"
    )
