"""Protects what a translation must not change: code, addresses, mentions, emoji, numbers.

They are replaced by tokens that engines do not translate, and restored if every token comes
back exactly once. A reader never sees a token: if the check fails, the original is shown
(compare Rocket.Chat#31146).
"""

import re
from dataclasses import dataclass
from typing import Final

_OPEN, _CLOSE = "\u27e6", "\u27e7"
"""Mathematical white square brackets: single characters that engines leave alone."""

# A pictograph with its variation selector or skin tone; ED-16 of Unicode's UTS 51 joins them
# with U+200D. Wider than the standard's list (arrows, dingbats), because other symbols are not
# translated either.
_PICTOGRAPH: Final = (
    "[\u2190-\u21ff\u2300-\u23ff\u2460-\u24ff\u2600-\u27bf\u2900-\u297f\u2b00-\u2bff"
    "\U0001f000-\U0001faff][\ufe0e\ufe0f]?[\U0001f3fb-\U0001f3ff]?"
)
_WORD_WITH_DIGIT: Final = r"[A-Za-z]*\d[A-Za-z\d]*"

_PROTECTED: Final = re.compile(
    "|".join(
        (
            r"```.*?```",  # a code block
            r"`[^`\n]+`",  # a code span
            r"(?:https?://|www\.|mailto:)[^\s<>\"]*[^\s<>\".,;:!?'()\[\]{}]",
            r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+",  # an e-mail address
            r"(?<!\w)[@#]\w(?:[\w.-]*\w)?",  # a mention, a channel
            r"(?<!\w):[a-z0-9_+-]{2,}:(?!\w)",  # a named emoji
            "[#*0-9]\ufe0f?\u20e3",  # a keycap
            rf"(?:{_PICTOGRAPH}(?:\u200d{_PICTOGRAPH})*)+",
            # Numbers, also inside dates, times, versions, amounts and "3kg".
            rf"(?<![A-Za-z\u00c0-\u024f])[+-]?{_WORD_WITH_DIGIT}(?:[.,:/-]{_WORD_WITH_DIGIT})*%?",
            rf"[{_OPEN}{_CLOSE}]",  # brackets of the text must not look like tokens
        )
    ),
    re.DOTALL,
)
_TOKEN: Final = re.compile(rf"{_OPEN}\s*(\d+)\s*{_CLOSE}")


class LostPlaceholderError(Exception):
    """A token did not come back exactly once."""


@dataclass(frozen=True, slots=True)
class Protected:
    """A text with tokens instead of what must not change."""

    text: str
    kept: tuple[str, ...]

    @property
    def translatable(self) -> bool:
        """Whether anything is left to translate: a letter of any script."""
        return any(char.isalpha() for char in _TOKEN.sub("", self.text))

    def restore(self, translation: str) -> str:
        """Return the translation with its tokens replaced by the original parts.

        Raises:
            LostPlaceholderError: a token is missing, duplicated, damaged or invented.
        """
        found = [int(number) for number in _TOKEN.findall(translation)]
        if sorted(found) != list(range(len(self.kept))):
            raise LostPlaceholderError(f"{len(self.kept)} sent, {len(found)} returned")
        bare = _TOKEN.sub("", translation)
        if _OPEN in bare or _CLOSE in bare:
            raise LostPlaceholderError("a token is damaged")
        return _TOKEN.sub(lambda match: self.kept[int(match[1])], translation)


def protect(text: str) -> Protected:
    """Replace what must not change by tokens."""
    kept: list[str] = []

    def keep(match: re.Match[str]) -> str:
        kept.append(match[0])
        return f"{_OPEN}{len(kept) - 1}{_CLOSE}"

    return Protected(_PROTECTED.sub(keep, text), tuple(kept))
