"""Finds the prose of a message: its lines of text, and what is markup or code.

The message is read as CommonMark with GitHub's tables, strikethrough and task lists, and with
formulas (`$x$`). pyromark returns the place of every element, so that all markup is copied from
the source rather than rendered again, and it needs linear time.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import zip_longest
from typing import Any, Final, assert_never

import pyromark

from ashchat_translate import atoms

_OPTIONS: Final = (
    pyromark.Options.ENABLE_TABLES
    | pyromark.Options.ENABLE_STRIKETHROUGH
    | pyromark.Options.ENABLE_TASKLISTS
    | pyromark.Options.ENABLE_MATH
)
_MARKED: Final = frozenset({"Emphasis", "Strong", "Strikethrough", "Link"})
"""Elements whose text belongs to the sentence around them."""

_ATOMIC_LINKS: Final = frozenset(
    {"Autolink", "Email", "Collapsed", "CollapsedUnknown", "Shortcut", "ShortcutUnknown"}
)
"""Links whose text is an address, or the name of their definition."""

_ATOMIC_HTML: Final = frozenset(
    {"code", "pre", "kbd", "samp", "var", "tt", "script", "style", "textarea", "math", "svg"}
)
"""HTML elements whose content is in no human language."""

_TAG: Final = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9]{0,20})(?![A-Za-z0-9])[^<>]*?(/?)>")

_BACKSLASH: Final = ord("\\")

_FIRST: Final = 0xF0000
"""First of the private-use characters that stand for pieces of a line. A text's own ones are
atoms, so that they cannot be mistaken for them."""


FIRST_CHAR: Final = chr(_FIRST)


class Kind(Enum):
    """What a piece of a line is."""

    ATOM = "atom"
    OPEN = "open"
    """Markup before an element's text: `**`, `[`."""
    CLOSE = "close"
    """Markup after an element's text: `**`, `](https://a.example)`."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a line that is not translated."""

    source: str
    kind: Kind


@dataclass(slots=True)
class Line:
    """A line of prose: text in which one private-use character stands for each piece."""

    text: str = ""
    pieces: list[Piece] = field(default_factory=list)

    def piece(self, char: str) -> Piece | None:
        """Return what a character stands for; None if it is text."""
        if char < FIRST_CHAR:
            return None
        number = ord(char) - _FIRST
        return self.pieces[number] if number < len(self.pieces) else None

    def source(self, text: str) -> str:
        """Return a part of the line's text as it was written."""
        if max(text, default="") < FIRST_CHAR:
            return text
        return "".join(char if (it := self.piece(char)) is None else it.source for char in text)

    def add(self, source: str, kind: Kind) -> None:
        """Add a piece; atoms without text between them are one."""
        last = self.piece(self.text[-1]) if self.text else None
        if last is not None and last.kind is kind is Kind.ATOM:
            self.pieces[-1] = Piece(last.source + source, kind)
            return
        self.text += chr(_FIRST + len(self.pieces))
        self.pieces.append(Piece(source, kind))

    def add_text(self, text: str) -> None:
        """Add text, in which atoms are found."""
        for part, is_atom in atoms.split(text):
            if is_atom:
                self.add(part, Kind.ATOM)
            else:
                self.text += part


class _Role(Enum):
    TEXT = "text"
    ATOM = "atom"
    OPEN = "open"
    CLOSE = "close"
    BREAK = "break"


@dataclass(frozen=True, slots=True)
class _Token:
    """An event of the parser; `start` and `end` are places in UTF-8."""

    role: _Role
    start: int
    end: int


def read(text: str) -> Iterator[str | Line]:
    """Return the parts of a message, in order: lines of prose, and the source around them."""
    places = _byte_places(text, atoms.exact(text))
    source = text.encode()
    masked = bytearray(source)
    for start, end in places:
        masked[start:end] = b"x" * (end - start)
    reader = _Reader(source, places)
    for token in _Events(masked.decode()).tokens():
        yield from reader.take(token)
    yield from reader.end()


def _byte_places(text: str, places: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Convert places in characters to places in UTF-8."""
    converted: list[tuple[int, int]] = []
    done = at = 0
    for start, end in places:
        first = at + len(text[done:start].encode())
        at = first + len(text[start:end].encode())
        converted.append((first, at))
        done = end
    return converted


class _Events:
    """The parser's events as tokens, without those inside of code, images and the like."""

    def __init__(self, masked: str) -> None:
        self._text = masked
        self._bytes = masked.encode()
        self._skip_to = 0
        self._html: str | None = None

    def tokens(self) -> Iterator[_Token]:
        """Return the tokens, in order."""
        for event, place in pyromark.events_with_range(self._text, options=_OPTIONS):
            start, end = place["start"], place["end"]
            if start < self._skip_to:
                continue
            role = self._role(event, start, end)
            if self._html is None or role is _Role.BREAK:
                at_end = role is _Role.CLOSE
                is_content = role in {_Role.TEXT, _Role.ATOM}
                yield _Token(role, end if at_end else start, end if at_end or is_content else start)

    def _role(self, event: Any, start: int, end: int) -> _Role:
        match event:
            case {"Text": value}:
                is_entity = value != self._bytes[start:end].decode()
                return _Role.ATOM if is_entity else _Role.TEXT
            case {"Start": tag}:
                return self._started(tag, start, end)
            case {"End": str(tag)} if tag in _MARKED:
                return _Role.CLOSE
            case {"InlineHtml": str(tag)}:
                self._html = _html_after(tag, self._html)
            case {"Code": _} | {"InlineMath": _} | {"DisplayMath": _} | {"FootnoteReference": _}:
                return _Role.ATOM
            case _:  # breaks, rules, blocks of HTML, check boxes
                pass
        return _Role.BREAK

    def _started(self, tag: Any, start: int, end: int) -> _Role:
        match tag:
            case {"Image": _}:
                self._skip_to = end
                return _Role.ATOM
            case {"Link": {"link_type": str(kind)}} if kind in _ATOMIC_LINKS:
                self._skip_to = end
                return _Role.ATOM
            case "Emphasis" | "Strong" | "Strikethrough" | {"Link": _}:
                return _Role.OPEN
            case "HtmlBlock":
                self._html = _html_after(self._bytes[start:end].decode(), self._html)
                self._skip_to = end
            case {"CodeBlock": _}:
                self._skip_to = end
            case _:  # blocks of prose
                pass
        return _Role.BREAK


def _html_after(source: str, html: str | None) -> str | None:
    """Return the element of code that is open after some HTML; it may go on in later blocks."""
    for match in _TAG.finditer(source):
        is_end, name = bool(match[1]), match[2].lower()
        if html is None and not is_end and name in _ATOMIC_HTML and match[3] != "/":
            html = name
        elif is_end and name == html:
            html = None
    return html


class _Reader:
    """Puts tokens together to lines.

    Source between two tokens is markup: of the elements that begin or end there, or of blocks.
    """

    def __init__(self, source: bytes, exact: Sequence[tuple[int, int]]) -> None:
        self._source = source
        self._exact = exact
        self._next_exact = 0
        self._line = Line()
        self._marks: list[_Token] = []
        self._text: tuple[int, int] | None = None
        self._done = 0
        """End of the source that is in parts, or in the line."""

    def take(self, token: _Token) -> Iterator[str | Line]:
        """Take a token; return the parts that are finished by it."""
        match token.role:
            case _Role.BREAK:
                yield from self._flush()
            case _Role.OPEN | _Role.CLOSE:
                self._end_text()
                self._marks.append(token)
            case _Role.TEXT if self._text is not None and self._done == token.start:
                self._text = (self._text[0], token.end)
                self._done = token.end
            case _Role.TEXT:
                escape = self._escape_before(token.start)
                yield from self._content(token.start - escape)
                if escape:
                    self._line.add(self._at(token.start - 1, token.start + 1), Kind.ATOM)
                self._text = (token.start + escape, token.end)
                self._done = token.end
            case _Role.ATOM:
                yield from self._content(token.start)
                self._line.add(self._at(token.start, token.end), Kind.ATOM)
                self._done = token.end
            case _ as never:
                assert_never(never)

    def end(self) -> Iterator[str | Line]:
        """Return what is left at the end of the message."""
        yield from self._flush()
        yield self._at(self._done, len(self._source))

    def _at(self, start: int, end: int) -> str:
        return self._source[start:end].decode()

    def _escape_before(self, start: int) -> int:
        """Return 1 if a backslash escapes the first character of a text, else 0."""
        taken = max(self._done, self._marks[-1].start if self._marks else 0)
        return int(start > taken and self._source[start - 1] == _BACKSLASH)

    def _content(self, start: int) -> Iterator[str | Line]:
        """Put the source before content where it belongs."""
        self._end_text()
        yield from self._place_marks(start)
        if self._done < start:
            yield from self._next_line(start)

    def _place_marks(self, until: int | None) -> Iterator[str | Line]:
        """Add the markup of elements that began or ended since the last content."""
        marks, self._marks = self._marks, []
        for mark, following in zip_longest(marks, marks[1:]):
            if mark.role is _Role.CLOSE:
                if mark.end > self._done:
                    self._add_to(mark.end, Kind.CLOSE)
                continue
            end = until if following is None else following.end
            if end is None or mark.start < self._done:
                continue  # it holds nothing but a break, or an earlier mark has taken it up
            if self._done < mark.start:
                yield from self._next_line(mark.start)
            is_empty = following is not None and following.role is _Role.CLOSE
            self._add_to(end, Kind.ATOM if is_empty else Kind.OPEN)

    def _add_to(self, end: int, kind: Kind) -> None:
        self._line.add(self._at(self._done, end), kind)
        self._done = end

    def _end_text(self) -> None:
        """Add the text that was collected, with its atoms."""
        if self._text is None:
            return
        (start, end), self._text = self._text, None
        for first, last in self._exact_within(start, end):
            self._line.add_text(self._at(start, first))
            self._line.add(self._at(first, last), Kind.ATOM)
            start = last
        self._line.add_text(self._at(start, end))

    def _exact_within(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Return the parts of exact atoms that lie in a text."""
        while self._next_exact < len(self._exact):
            first, last = self._exact[self._next_exact]
            if first >= end:
                return
            if last > start:
                yield max(first, start), min(last, end)
            if last > end:
                return
            self._next_exact += 1

    def _next_line(self, start: int) -> Iterator[str | Line]:
        """Finish the line, and give the source up to the next one."""
        line, self._line = self._line, Line()
        if line.text:
            yield line
        if self._done < start:
            yield self._at(self._done, start)
            self._done = start

    def _flush(self) -> Iterator[str | Line]:
        self._end_text()
        yield from self._place_marks(None)
        yield from self._next_line(self._done)
