"""How atoms are written in the text that an engine gets.

A token must come back unchanged from an engine that does not know it. Engines differ in what they
leave alone, so each provider chooses a style.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"

TOKENS_MAX: Final = len(_LETTERS) ** 2
"""Maximum number of tokens in one sentence."""


@dataclass(frozen=True, slots=True)
class TokenStyle:
    """One way to write tokens.

    Attributes:
        write: Returns the token of a number.
        read: Returns the number that a match of `pattern` stands for.
        pattern: Matches a token as an engine may return it: spaced, in another case.
        debris: Matches what a damaged token leaves behind.
    """

    write: Callable[[int], str]
    read: Callable[[re.Match[str]], int]
    pattern: re.Pattern[str]
    debris: re.Pattern[str]


def _word(number: int) -> str:
    high, low = divmod(number, len(_LETTERS))
    return f"Xq{_LETTERS[high]}{_LETTERS[low]}"


def _number(match: re.Match[str]) -> int:
    word = match[1].lower()
    return _LETTERS.index(word[0]) * len(_LETTERS) + _LETTERS.index(word[1])


BRACKETS: Final = TokenStyle(
    write=lambda number: f"\u27e6{number}\u27e7",
    read=lambda match: int(match[1]),
    pattern=re.compile("\u27e6 ?([0-9]{1,3}) ?\u27e7"),
    debris=re.compile("[\u27e6\u27e7]"),
)
"""⟦0⟧: for engines that work on pieces of words and copy symbols they do not know."""

WORDS: Final = TokenStyle(
    write=_word,
    read=_number,
    pattern=re.compile(r"(?<![A-Za-z])[Xx][Qq]([A-Za-z]{2})(?![A-Za-z])"),
    debris=re.compile(r"[Xx][Qq]"),
)
"""Xqaa, a word of no language: for engines with a dictionary, which copy unknown words, while their
rules for numbers and dates reach into brackets ("de mayo de ⟦1⟧" loses its token)."""
