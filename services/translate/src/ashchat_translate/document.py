"""Splits a message into sentences and the source between them."""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from sentencex import segment  # type: ignore[attr-defined]  # a compiled module

from ashchat_translate import markdown
from ashchat_translate.markdown import Kind, Line, Piece

_DROPPED: Final = re.compile("[\u00ad\u061c\u180e\u200b\u200e\u200f\u2060-\u2064\ufeff]")
"""Characters that are not seen: soft hyphens, direction marks, joiners of words."""

SENTENCES_MAX: Final = 500
"""How many sentences of a message are translated, counted by whole lines. A message of the
maximum length has more only if it is a list of single words."""

_SPACES: Final = re.compile(r"\s+")
_BLANK_LETTERS: Final = frozenset("\u115f\u1160\u3164\uffa0\u2800")
"""Letters and symbols without a glyph."""


@dataclass(frozen=True)
class Sentence:
    """Text of one sentence, with one private-use character for each piece in it."""

    text: str
    line: Line

    def pieces(self) -> Iterator[tuple[str, Piece]]:
        """Return the private-use characters in the text, and what they stand for."""
        for char in self.text:
            piece = self.line.piece(char)
            if piece is not None:
                yield char, piece

    @cached_property
    def source(self) -> str:
        """The sentence as it was written."""
        return self.line.source(self.text)

    @cached_property
    def words(self) -> str:
        """The text without its pieces, as an engine or a detector should see it."""
        plain = "".join(" " if self.line.piece(char) else char for char in self.text)
        return normal(plain).strip()

    @cached_property
    def runs(self) -> "list[Piece | Sentence | str]":
        """The sentence cut at its marks: marks, sentences between them, source around these."""
        runs: list[Piece | Sentence | str] = []
        start = 0
        for place, char in enumerate(self.text):
            piece = self.line.piece(char)
            if piece is not None and piece.kind is not Kind.ATOM:
                runs += [*_trimmed(self.text[start:place], self.line), piece]
                start = place + 1
        return [*runs, *_trimmed(self.text[start:], self.line)]

    @property
    def is_marked(self) -> bool:
        """Whether an element begins or ends inside of the sentence."""
        return any(piece.kind is not Kind.ATOM for _, piece in self.pieces())


Shape = list[str | list[tuple[str, str]]]
"""What a translation of a message keeps: the markup, and the pieces of each line."""


@dataclass(frozen=True)
class Document:
    """A message as a sequence of sentences and of source that stays as it is."""

    parts: tuple[str | Sentence, ...]
    shape: Shape

    @cached_property
    def sentences(self) -> list[Sentence]:
        """The sentences, in order."""
        return [part for part in self.parts if isinstance(part, Sentence)]

    @cached_property
    def source(self) -> str:
        """The message."""
        return "".join(part if isinstance(part, str) else part.source for part in self.parts)


def parse(text: str, language: str) -> Document:
    """Split a message, whose sentences end as in a language (a tag's language, "es")."""
    read = list(markdown.read(text))
    parts: list[str | Sentence] = []
    count = 0
    for part in read:
        if isinstance(part, str):
            parts.append(part)
        elif count >= SENTENCES_MAX:
            parts.append(part.source(part.text))
        else:
            for sentence in _sentences(part.text, language):
                parts += _trimmed(sentence, part)
                count += 1
    return Document(tuple(parts), _shape_of(read))


def shape(text: str) -> Shape:
    """Return the shape of a message."""
    return _shape_of(markdown.read(text))


def _shape_of(parts: Iterable[str | Line]) -> Shape:
    return [
        part
        if isinstance(part, str)
        else sorted((piece.kind.value, piece.source) for piece in part.pieces)
        for part in parts
        if part
    ]


def normal(text: str) -> str:
    """Return a text as engines know it: composed (NFC), with plain and single spaces."""
    return _SPACES.sub(" ", _DROPPED.sub("", unicodedata.normalize("NFC", text)))


def has_letters(text: str) -> bool:
    """Return whether a text has a letter that can be seen."""
    return any(char.isalpha() and char not in _BLANK_LETTERS for char in text)


def _sentences(text: str, language: str) -> list[str]:
    """Return the sentences of a line; abbreviations ("p. m. de hoy") do not end one."""
    found: list[str] = []
    for sentence in segment(language, text):
        if found and sentence[:1].islower():
            found[-1] += sentence
        else:
            found.append(sentence)
    return found if "".join(found) == text else [text]


def _trimmed(text: str, line: Line) -> list[str | Sentence]:
    """Return a part of a line without the spaces and pieces around it.

    A mark stays if its partner is within the sentence ("**muy** importante").
    """

    def is_outer(char: str) -> bool:
        return char.isspace() or line.piece(char) is not None

    start, end = 0, len(text)
    while start < end and is_outer(text[start]):
        start += 1
    while end > start and is_outer(text[end - 1]):
        end -= 1
    if not has_letters("".join(char for char in text[start:end] if line.piece(char) is None)):
        return [line.source(text)] if text else []
    start, end = _with_partners(text, line, start, end)
    around = (line.source(text[:start]), Sentence(text[start:end], line), line.source(text[end:]))
    return [part for part in around if part]


def _with_partners(text: str, line: Line, start: int, end: int) -> tuple[int, int]:
    """Extend a place to the marks next to it whose partners are within it."""
    opened: list[int] = []
    first, last = start, end
    for place, char in enumerate(text):
        piece = line.piece(char)
        if piece is None or piece.kind is Kind.ATOM:
            continue
        if piece.kind is Kind.OPEN:
            opened.append(place)
        elif opened:
            partner = opened.pop()
            if partner < start <= place < end:
                first = min(first, partner)
            elif start <= partner < end <= place:
                last = max(last, place + 1)
    outer = text[first:start] + text[end:last]
    return (start, end) if any(map(str.isspace, outer)) else (first, last)
