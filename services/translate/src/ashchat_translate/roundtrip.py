"""What is sent to an engine for a message, and what becomes of its answers.

A sentence that does not come back whole stays as it was written: every atom once, every number,
no new markup. The result is read as Markdown again and must have the structure of the message.

Emphasis and links are no characters in the engine's text. The sentence is translated without
them, and so is their text alone; where the latter is found in the former, the markup is put
around it. Otherwise the text between marks is translated run by run.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

from ashchat_translate import guards
from ashchat_translate.document import Document, Sentence, normal, shape
from ashchat_translate.markdown import FIRST_CHAR, Kind, Piece
from ashchat_translate.tokens import TOKENS_MAX, TokenStyle

Reason = Literal[
    "placeholder_lost", "number_changed", "markup_changed", "structure_changed", "not_answered",
    "translation_empty", "translation_too_long", "translation_too_short",
    "translation_repetitive",
]  # fmt: skip
"""Why a sentence, or a whole message, stays as it was written."""

_MARKUP: Final = frozenset("*_~`\\<>|[]{}^$#@=&\n\r\t\x0b\x0c\x85\u2028\u2029")
"""Characters that a translation must not add: they could become markup, or end a line."""

_NUMBER: Final = re.compile(r"(?:(?<!\w)[-+\u2212])?\d+(?:[.,:/\u2212-]\d+)*(?:\s?%)?")
_CJK: Final = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


class DamagedError(Exception):
    """An answer is not a translation of its sentence."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


@dataclass(frozen=True, slots=True)
class Result:
    """A message with the sentences that were translated.

    Attributes:
        text: The message.
        translated: The number of its sentences that changed hands successfully.
        kept: Why other sentences stay as they were written.
    """

    text: str
    translated: int
    kept: Counter[Reason]


@dataclass(frozen=True, slots=True)
class _Span:
    """An element in a sentence: its marks, and its text, which has none."""

    before: str
    inner: Sentence
    after: str


@dataclass(frozen=True)
class RoundTrip:
    """A message on its way through an engine.

    Args:
        document: The message.
        style: How its atoms are written for the engine.
        foreign: Numbers of the sentences that are not sent.
    """

    document: Document
    style: TokenStyle
    foreign: AbstractSet[int] = frozenset()

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """The texts to translate, each once."""
        texts: dict[str, None] = {}
        for number, sentence in enumerate(self.document.sentences):
            if number not in self.foreign:
                for part in (sentence, *_runs(sentence), *_inner_spans(sentence)):
                    sent = self._sent(part)
                    if sent is not None:
                        texts[sent] = None
        return tuple(texts)

    def finish(self, answers: Mapping[str, str]) -> Result:
        """Put the answers together; the less is done with marks, the safer is the structure."""
        for wholes, runs in ((True, True), (False, True), (False, False)):
            result = self._write(answers, wholes=wholes, runs=runs)
            if shape(result.text) == self.document.shape:
                return result
        return Result(self.document.source, 0, Counter(["structure_changed"]))

    def _write(self, answers: Mapping[str, str], *, wholes: bool, runs: bool) -> Result:
        written: list[str] = []
        kept: Counter[Reason] = Counter()
        number = translated = 0
        for part in self.document.parts:
            if isinstance(part, str):
                written.append(part)
                continue
            number += 1
            if number - 1 in self.foreign:
                written.append(part.source)
                continue
            try:
                written.append(self._sentence(part, answers, wholes=wholes, runs=runs))
                translated += 1
            except DamagedError as error:
                kept[error.reason] += 1
                written.append(part.source)
        return Result("".join(written), translated, kept)

    def _sentence(
        self, sentence: Sentence, answers: Mapping[str, str], *, wholes: bool, runs: bool
    ) -> str:
        """Return the translation of a sentence.

        Raises:
            DamagedError: it must stay as it was written.
        """
        if not sentence.is_marked:
            return sentence.line.source(self._received(sentence, answers))
        if wholes and (spans := _spans(sentence)):
            whole = self._around(sentence, spans, answers)
            if whole is not None:
                return whole
        if not runs:
            raise DamagedError("structure_changed")
        return self._run_by_run(sentence, answers)

    def _around(
        self, sentence: Sentence, spans: list[_Span], answers: Mapping[str, str]
    ) -> str | None:
        """Return the whole sentence's translation with its marks; None if a place is not clear."""
        try:
            whole = self._received(sentence, answers)
            places = []
            for span in spans:
                place = _only_place(self._received(span.inner, answers), whole)
                if place is None:
                    return None
                places.append((*place, span))
        except DamagedError:
            return None
        places.sort(key=lambda place: place[:2])
        written, done = "", 0
        source = sentence.line.source
        for start, end, span in places:
            if start < done:
                return None
            written += source(whole[done:start]) + span.before + source(whole[start:end])
            written += span.after
            done = end
        return written + source(whole[done:])

    def _run_by_run(self, sentence: Sentence, answers: Mapping[str, str]) -> str:
        written: list[str] = []
        reason: Reason | None = None
        translated = 0
        is_first = True
        for run in sentence.runs:
            if isinstance(run, Sentence):
                try:
                    received = self._received(run, answers)
                    received = received if is_first else _cased_like(run.text, received)
                    written.append(run.line.source(received))
                    translated += 1
                except DamagedError as error:
                    reason = error.reason
                    written.append(run.source)
                is_first = False
            else:
                written.append(run.source if isinstance(run, Piece) else run)
        if not translated:
            raise DamagedError(reason or "not_answered")
        return "".join(written)

    def _sent(self, sentence: Sentence) -> str | None:
        """Return the text that the engine gets for a sentence; None if it cannot be sent."""
        tokens = {char: number for number, (char, _) in enumerate(_atoms(sentence))}
        plain = normal(_without(sentence.text, sentence))
        if tokens and (len(tokens) > TOKENS_MAX or self.style.debris.search(plain)):
            return None
        text = "".join(
            _spaced(self.style.write(tokens[char]), glued) if char in tokens else char
            for char, glued in _with_glue(sentence)
        )
        return normal(text).strip()

    def _received(self, sentence: Sentence, answers: Mapping[str, str]) -> str:
        """Return the answer for a sentence, its atoms as private-use characters again.

        Raises:
            DamagedError: it is not a translation of the sentence.
        """
        sent = self._sent(sentence)
        answer = None if sent is None else answers.get(sent)
        if sent is None or answer is None:
            raise DamagedError("not_answered")
        answer = _tidy(answer)
        atoms = [char for char, _ in _atoms(sentence)]
        restored = self._restored(answer, atoms)
        restored = _glued(restored, dict(_with_glue(sentence)) if atoms else {})
        bare = self.style.pattern.sub(" ", sent) if atoms else sent
        plain = _without(restored, sentence)
        if numbers(plain) != numbers(bare):
            raise DamagedError("number_changed")
        added = Counter(filter(_is_markup, plain)) - Counter(bare)
        if added:
            raise DamagedError("markup_changed")
        fault = guards.fault(bare, plain)
        if fault is not None:
            raise DamagedError(f"translation_{fault}")  # type: ignore[arg-type]
        return restored

    def _restored(self, answer: str, atoms: list[str]) -> str:
        if not atoms:
            return answer
        found = [self.style.read(match) for match in self.style.pattern.finditer(answer)]
        if sorted(found) != list(range(len(atoms))):
            raise DamagedError("placeholder_lost")
        restored = self.style.pattern.sub(lambda match: atoms[self.style.read(match)], answer)
        if self.style.debris.search(restored):
            raise DamagedError("placeholder_lost")
        return restored


def numbers(text: str) -> Counter[str]:
    """Return the numbers in a text, in whatever digits: dates, times and amounts, too."""
    return Counter(
        "".join(str(unicodedata.digit(char, char)) for char in match[0] if not char.isspace())
        for match in _NUMBER.finditer(text)
    )


def _is_markup(char: str) -> bool:
    return (
        char in _MARKUP
        or unicodedata.category(char) in {"Cc", "Co", "Cs"}
        or ("\u202a" <= char <= "\u202e" or "\u2066" <= char <= "\u2069")
    )


def _atoms(sentence: Sentence) -> list[tuple[str, Piece]]:
    return [(char, piece) for char, piece in sentence.pieces() if piece.kind is Kind.ATOM]


def _without(text: str, sentence: Sentence) -> str:
    """Return a text of a sentence with spaces for its atoms, and without its marks."""
    return "".join(
        char if (piece := sentence.line.piece(char)) is None else " " * (piece.kind is Kind.ATOM)
        for char in text
    )


_Glue = tuple[bool, bool]
"""Whether a letter or digit is right before an atom, and right after it. Engines know a token only
as a separate word, so it gets spaces there, which are removed from the answer."""


def _with_glue(sentence: Sentence) -> list[tuple[str, _Glue]]:
    """Return the characters of a sentence's text without its marks, each with what is around it."""
    text = "".join(
        char
        for char in sentence.text
        if (piece := sentence.line.piece(char)) is None or piece.kind is Kind.ATOM
    )
    around = f" {text} "
    return [
        (char, (around[place].isalnum(), around[place + 2].isalnum()))
        for place, char in enumerate(text)
    ]


def _spaced(token: str, glue: _Glue) -> str:
    return f"{' ' * glue[0]}{token}{' ' * glue[1]}"


def _glued(text: str, glue: Mapping[str, _Glue]) -> str:
    """Return an answer without the spaces that `_spaced` has put around atoms."""
    written: list[str] = []
    is_glued = False
    for char in text:
        if char == " " and is_glued:
            is_glued = False
            continue
        before, is_glued = glue.get(char, (False, False)) if char >= FIRST_CHAR else (False, False)
        if before and written and written[-1] == " ":
            written.pop()
        written.append(char)
    return "".join(written)


def _runs(sentence: Sentence) -> list[Sentence]:
    if not sentence.is_marked:
        return []
    return [run for run in sentence.runs if isinstance(run, Sentence)]


def _inner_spans(sentence: Sentence) -> list[Sentence]:
    return [span.inner for span in _spans(sentence) or []]


def _spans(sentence: Sentence) -> list[_Span] | None:
    """Return the elements of a sentence; None if one is nested, cut off, or without words.

    Elements around the same text ("***word***") are one.
    """
    found: list[_Span] = []
    before = after = ""
    inner: Sentence | None = None
    depth = 0
    for run in sentence.runs:
        if isinstance(run, Piece) and run.kind is Kind.OPEN and inner is None:
            before += run.source
            depth += 1
        elif isinstance(run, Piece) and run.kind is Kind.CLOSE and inner is not None:
            after += run.source
            depth -= 1
            if depth == 0:
                found.append(_Span(before, inner, after))
                before, inner, after = "", None, ""
        elif isinstance(run, Sentence) and depth and inner is None:
            inner = run
        elif depth or isinstance(run, Piece):
            return None
    return None if depth else found


def _only_place(part: str, whole: str) -> tuple[int, int] | None:
    """Return where a text has another one as a whole word, if that is in one place only."""
    pattern = re.escape(part)
    if not _CJK.search(part):
        pattern = rf"(?<!\w){pattern}(?!\w)"
    places = [match.span() for match in re.finditer(pattern, whole, re.IGNORECASE)]
    return places[0] if len(places) == 1 else None


def _cased_like(original: str, translation: str) -> str:
    """Return a translation within a sentence without a capital that only an engine gave it.

    Some begin every text with one, even a single word.
    """
    first, second = translation[:1], translation[1:2]
    if original[:1].islower() and first.isupper() and not second.isupper():
        return first.lower() + translation[1:]
    return translation


def _tidy(answer: str) -> str:
    """Return an answer with single spaces: engines leave two where they omit a word."""
    return re.sub(r" {2,}", " ", answer.strip(" "))
