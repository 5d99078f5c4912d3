"""Engines that translate badly, each in its own way; and a harmless one.

They get one sentence, as a provider does.
"""

import html
import re
from collections.abc import Callable, Mapping
from typing import Final

from ashchat_translate.tokens import BRACKETS, WORDS

Engine = Callable[[str], str]

STYLES: Final = {"brackets": BRACKETS, "words": WORDS}


def shout(text: str) -> str:
    """Translate every word of letters into another one, as a good engine would."""
    return re.sub(r"(?<![\w⟦])(?!Xq)[^\W\d_]{2,}(?!\w)", lambda match: f"{match[0]}o", text)


def _tokens(text: str) -> list[str]:
    return [match[0] for style in STYLES.values() for match in style.pattern.finditer(text)]


def _without(text: str, tokens: list[str]) -> str:
    for token in tokens:
        text = text.replace(token, "")
    return text


def _doubled(text: str) -> str:
    for token in set(_tokens(text)):
        text = text.replace(token, f"{token} {token}")
    return shout(text)


def _swapped(text: str) -> str:
    tokens = iter(_tokens(text)[::-1])
    for style in STYLES.values():
        text = style.pattern.sub(lambda _: next(tokens), text)
    return shout(text)


HOSTILE: Final[Mapping[str, Engine]] = {
    "good": shout,
    "echo": str,
    "empty": lambda _: "",
    "eats asterisks": lambda text: shout(text.replace("*", "")),
    "eats punctuation": lambda text: shout(re.sub(r"[^\w\s]", "", text)),
    "upper": lambda text: shout(text).upper(),
    "lower": lambda text: shout(text).lower(),
    "title": lambda text: shout(text).title(),
    "reverses words": lambda text: shout(" ".join(text.split()[::-1])),
    "reverses letters": lambda text: text[::-1],
    "drops tokens": lambda text: shout(_without(text, _tokens(text))),
    "drops a token": lambda text: shout(_without(text, _tokens(text)[:1])),
    "doubles tokens": _doubled,
    "swaps tokens": _swapped,
    "spaces everything": " ".join,
    "closes up": lambda text: shout(text).replace(" ", ""),
    "changes digits": lambda text: shout(text.translate(str.maketrans("0123456789", "1234567890"))),
    "Arabic digits": lambda text: shout(
        text.translate(str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩"))
    ),
    "HTML": lambda text: html.escape(shout(text)),
    "adds markup": lambda text: f"**{shout(text)}** [x](https://evil.example) `y`",
    "adds a list": lambda text: f"- {shout(text)}",
    "adds a heading": lambda text: f"# {shout(text)}\n\n> {text}",
    "adds a mention": lambda text: f"@all {shout(text)}",
    "adds an address": lambda text: f"{shout(text)} evil.example/x",
    "loops": lambda text: (text + " ") * 40,
    "garbage": lambda _: "\u202e\x00⟦9⟧ Xqzz <b> \uf8ff \U000f0000",
}  # fmt: skip


def answers(texts: tuple[str, ...], engine: Engine) -> dict[str, str]:
    """Return an engine's answers, as `RoundTrip.finish` takes them."""
    return {text: engine(text) for text in texts}
