"""Tests a translation must pass before anyone sees it.

Engines loop on nonsense, return nothing, or answer with pages; the reader is better off
with the original (seen in argos-translate#444 and LibreTranslate#806).
"""

from typing import Final, Literal

Fault = Literal["empty", "too_long", "too_short", "repetitive"]

_GROWTH: Final = 4
_GROWTH_FROM_DENSE: Final = 12
"""A Chinese, Japanese or Korean character becomes several letters."""
_SLACK_CHARS: Final = 60
_SHRINK: Final = 12
_SHRINK_FROM_CHARS: Final = 60

_MAX_PERIOD_CHARS: Final = 40
_LOOP_TIMES: Final = 6
_LOOP_CHARS: Final = 24
_LOOKED_AT_CHARS: Final = 4_000
"""A loop fills the rest of a text, so the end of it is enough to look at."""


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
    """Return how often the most repeated piece comes directly after itself.

    1: nothing repeats. Pieces are at most _MAX_PERIOD_CHARS long and the whole run at
    least _LOOP_CHARS ("jajaja" is laughter). A text has the period p where it equals
    itself moved by p; a run of r such places holds r // p + 1 pieces.
    """
    text = text[-_LOOKED_AT_CHARS:]
    most = 1
    for period in range(1, min(_MAX_PERIOD_CHARS, len(text) // 2) + 1):
        run = longest = 0
        for here, there in zip(text, text[period:], strict=False):
            if here == there:
                run += 1
                longest = max(longest, run)
            else:
                run = 0
        if longest + period >= _LOOP_CHARS:
            most = max(most, longest // period + 1)
    return most


def _is_dense(char: str) -> bool:
    # CJK ideographs, kana and hangul: the blocks that write a syllable or word a character.
    return (
        "\u3040" <= char <= "\u30ff"
        or "\u3400" <= char <= "\u9fff"
        or "\uac00" <= char <= "\ud7af"
        or "\U00020000" <= char <= "\U0003ffff"
    )
