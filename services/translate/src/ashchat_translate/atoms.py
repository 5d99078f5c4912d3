"""Atoms: parts of a text that no translation may change.

Addresses, paths, formulas, templates, mentions, commands, identifiers and pictographs. They are
found in two steps. `exact` marks, before Markdown is parsed, what contains characters that
Markdown would read as markup ("https://example.org/_casa_"). `split` finds the rest in the text
that is left.

Every expression needs time linear in the text: each alternative begins where no other match can
be under way (a lookbehind) and consumes possessively or up to a fixed number of characters.
"""

import re
from collections.abc import Iterator
from typing import Final

_CJK: Final = "\u1100-\u11ff\u3040-\u30ff\u3130-\u318f\u31f0-\u31ff\u3400-\u9fff\uac00-\ud7af"
_MARKS: Final = "\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0900-\u109f"
"""Marks within words, which `\\w` does not match, and the letters of their blocks."""

_NO_ADDRESS: Final = (
    "\u0000-\u0020\u007f-\u00bf\u0589\u05be\u060c\u061b\u061f\u06d4\u0964\u0965\u2000-\u2bff"
    "\u3000-\u303f\ufe00-\ufe4f\uff00-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65"
    "\U0001f000-\U0001ffff\U000e0000-\U0010ffff"
)
"""Spaces, punctuation and pictographs outside ASCII: they end an address."""

_LETTER: Final = rf"[^\x00-\x7f{_NO_ADDRESS}{_CJK}]"
_SAFE: Final = (
    rf"(?:[A-Za-z0-9\-._~:/?#@!$&'*+,;=%{{}}]|{_LETTER}"
    # Ideographs belong to an address where a part of it begins with them ("/wiki/日本"), not
    # where a sentence goes on without a space ("example.org/casa好").
    rf"|(?<=[/=?&#_%.\-])[{_CJK}]++)"
)
_BODY: Final = rf"(?:{_SAFE}++|\({_SAFE}*+\))++"
_HOST: Final = r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,62}+)\.){1,8}[A-Za-z]{2,24}"

_URL: Final = (
    rf"(?<![A-Za-z0-9+.\-])[A-Za-z][A-Za-z0-9+.\-]{{1,15}}+://(?:\[[0-9A-Fa-f:.]{{2,45}}\])?(?:{_BODY})?"
    rf"|(?<![A-Za-z0-9])(?i:mailto|tel|sms|geo|sip|xmpp|matrix|magnet|data|urn|javascript):(?=[^\s:]){_BODY}"
    rf"|(?<![\w.@/-])(?i:www)\d?\.{_BODY}"
    # A host with a port and a path, an IPv4 address with a path.
    rf"|(?<![\w.@/:-])[A-Za-z][A-Za-z0-9-]{{0,62}}+:\d{{1,5}}/(?:{_BODY})?"
    rf"|(?<![\w.@/:-])\d{{1,3}}(?:\.\d{{1,3}}){{3}}(?::\d{{1,5}})?/(?:{_BODY})?"
    # A bare host with a path, a port or a query.
    rf"|(?<![\w.@/-]){_HOST}(?::\d{{1,5}})?[/?#](?:{_BODY})?"
)
_EMAIL: Final = r"(?<![\w.+%-])[\w.+%-]++@[\w-]++(?:\.[\w-]++)+"
_MENTION: Final = rf"(?<![\w{_MARKS}/@#&])[@#][\w{_MARKS}]++(?:[.:@-][\w{_MARKS}]++)*"
_BRACES: Final = r"\{[^{}\n`]{0,400}+(?:\{[^{}\n`]{0,200}+\}[^{}\n`]{0,200}+){0,8}+\}"
_TEMPLATE: Final = (
    r"\{\{[^{}\n`]{0,400}+\}\}"
    r"|\{%[^%\n`]{0,400}+%\}"
    r"|<%[^%\n`]{0,400}+%>"
    rf"|[$#]?{_BRACES}"
    r"|\[\[[^\[\]\n`]{0,200}+\]\]"
    # Mentions, channels and emoji as other platforms write them: <@U12>, <#C1|name>, <:name:12>.
    r"|<(?:[@#][^<>\n`]{1,80}+|![a-z]{4,10}+|a?:\w{1,40}+:\d{1,25}+)>"
    r"|(?<!%)%(?:\d{1,2}\$)?(?:\(\w{1,60}\))?[-+0#]?\d{0,3}(?:\.\d{1,3})?[sdifouxXcgeEr@](?!\w)"
    r"|(?<![\w$])\$[A-Za-z_]\w*+"
)
_FORMULA: Final = (
    r"\\\((?:[^\\\n`]|\\(?![()])){1,300}+\\\)"
    r"|\\\[(?:[^\\\n`]|\\(?![\[\]])){1,300}+\\\]"
    r"|\\begin\{[a-z*]{1,20}\}(?s:.{0,600}?)\\end\{[a-z*]{1,20}\}"
    r"|\\[A-Za-z]{2,30}+(?:\{[^{}\n`]{0,200}+\}|\[[^\[\]\n`]{0,100}+\]){0,5}+"
)
_PATH: Final = (
    r"(?<![\w\\])[A-Za-z]:[\\/][^\s<>\"|?*`]*+"
    r"|(?<![\w\\])\\\\[\w.$-]++\\[^\s<>\"|?*`]*+"
    rf"|(?<![\w{_MARKS}/.:)\]<~])(?:~|\.\.?)?/(?:[\w{_MARKS}.@+~-]++/?)+"
)
_EXACT: Final = re.compile(f"{_URL}|{_EMAIL}|{_FORMULA}|{_PATH}|{_TEMPLATE}|{_MENTION}")

_TRAILING: Final = ".,;:!?'*_~-"
"""What follows an address rather than ends it."""

# A pictograph with its variation selector or skin tone; ED-16 of Unicode's UTS 51 joins them
# with U+200D. Wider than the standard's list (arrows, dingbats), because other symbols are not
# translated either.
_PICTOGRAPH: Final = (
    "[\u2190-\u21ff\u2300-\u23ff\u2460-\u24ff\u2500-\u27bf\u2900-\u297f\u2b00-\u2bff"
    "\U0001f000-\U0001faff](?:[\ufe0e\ufe0f]|[\U0001f3fb-\U0001f3ff]|[\U000e0020-\U000e007f])*+"
)
_INNER: Final = r"[^\s\u3000-\u303f\uff00-\uffef" + _CJK + "]"
_PLAIN: Final = re.compile(
    "|".join(
        (
            "[#*0-9]\ufe0f?\u20e3",  # a keycap
            rf"{_PICTOGRAPH}(?:\u200d?{_PICTOGRAPH})*+",
            r"(?<![\w:]):[a-z0-9_+-]{2,40}+:(?!\w)",  # a named emoji
            r"(?<![\w-])--[A-Za-z][\w-]*+",  # an option of a command
            r"(?<![\w.:])[A-Za-z_][\w.:]*+\(\)",  # a call
            # What looks like a token of ours (`tokens`).
            r"(?<![A-Za-z])[Xx][Qq][A-Za-z]{2}(?![A-Za-z])|\u27e6[^\s\u27e6\u27e7]{1,8}\u27e7",
            # Characters that mean something to Markdown, to engines, or to our own glue.
            r"[*_~`\\<>|\[\]{}^$#=@\u27e6\u27e7]++",
            "[\ue000-\uf8ff\U000f0000-\U0010ffff\u202a-\u202e\u2066-\u2069]++",
            rf"(?P<word>(?:(?!{_PICTOGRAPH}){_INNER})++)",
        )
    )
)
_AROUND: Final = (
    "()[]{}<>\"'\xbf\xa1\xab\xbb\u201c\u201d\u2018\u2019.,;:!?\u2026-\u2013\u2014*_~`|^\\"
)
"""Punctuation and markup around a word."""

_MARKUP: Final = re.compile(r"[*_~`\\<>|\[\]{}^$#=@]++")
_ORDINAL: Final = re.compile(
    r"\d{1,4}(?:st|nd|rd|th|er|re|ère|e|è|o|a|º|ª|°)\.?",  # a longer one is an identifier: 38579e
    re.IGNORECASE,
)
_DOTTED: Final = re.compile(r"[A-Za-z0-9_-]+(?:\.[a-z0-9_-]+)+")
_ABBREVIATED: Final = re.compile(r"(?:[^\W\d_]{1,2}\.)+[^\W\d_]{0,2}")
_TECHNICAL: Final = re.compile(
    r"[_=<>|^~*$@{}\[\]`\\]"  # markup and operators inside a word
    r"|::|->|=>|\+\+|#"
    r"|[a-z][A-Z]"  # camelCase
    r"|[A-Za-z]\d|\d[A-Za-z]"  # B2B, v1.2, 3kg
)


def exact(text: str) -> Iterator[tuple[int, int]]:
    """Return the places of atoms whose characters Markdown must not read as markup."""
    for match in _EXACT.finditer(text):
        start, end = match.span()
        found = match[0]
        if "://" in found or found[0] in "@#" or "." in found:
            end = start + len(found.rstrip(_TRAILING))
        if end > start:
            yield start, end


def split(text: str) -> Iterator[tuple[str, bool]]:
    """Return the pieces of a text, each with whether it is an atom."""
    done = 0
    for match in _PLAIN.finditer(text):
        start, end = match.span()
        is_word = match["word"] is not None
        places = _technical(text, start, end) if is_word else [(start, end)]
        for start, end in places:
            if start > done:
                yield text[done:start], False
            yield text[start:end], True
            done = end
    if done < len(text):
        yield text[done:], False


def _technical(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """Return the places of atoms in a word: all of it, or the markup around it."""
    inner = _core(text, start, end)
    if _is_technical(text[slice(*inner)]):
        return [inner]
    return [match.span() for match in _MARKUP.finditer(text, start, end)]


def _core(text: str, start: int, end: int) -> tuple[int, int]:
    """Return the place of a word without the punctuation around it."""
    word = text[start:end]
    start += len(word) - len(word.lstrip(_AROUND))
    return start, start + len(text[start:end].rstrip(_AROUND))


def _is_technical(word: str) -> bool:
    if word.isalpha() and word[1:].islower():
        return False
    if _ORDINAL.fullmatch(word) or _ABBREVIATED.fullmatch(word):
        return False
    if _TECHNICAL.search(word):
        return True
    is_path = word.count("/") > 1 or ("/" in word and "." in word)
    return (is_path or bool(_DOTTED.fullmatch(word))) and any(map(str.isalpha, word))
