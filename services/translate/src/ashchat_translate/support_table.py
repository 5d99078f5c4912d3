"""Which languages Apertium translates between, as a table in Markdown.

Usage: `python -m ashchat_translate.support_table images/apertium/pairs.txt`.
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from ashchat_core import languages
from ashchat_translate.detection import CLIENT_LANGUAGES
from ashchat_translate.pairs import Pair, PairGraph

NAMES: Final = {
    "ar": "Arabic", "bn": "Bengali", "de": "German", "en": "English", "es": "Spanish",
    "fr": "French", "hi": "Hindi", "it": "Italian", "ja": "Japanese", "ko": "Korean",
    "nl": "Dutch", "pt": "Portuguese", "ru": "Russian", "tr": "Turkish", "ur": "Urdu",
    "vi": "Vietnamese", "zh": "Chinese",
}  # fmt: skip
"""The client's languages in English."""


def read(lines: Iterable[str]) -> PairGraph:
    """Return the graph of pairs that are written as the engine names them, "spa|eng"."""
    return PairGraph(Pair(*line.strip().split("|")) for line in lines if line.strip())


def how(graph: PairGraph, source: str, target: str) -> str:
    """Return how a language is translated into another: "direct", "via es", "no"."""
    path = graph.path(languages.iso_639_3(source), languages.iso_639_3(target))
    if path is None:
        return "no"
    pivots = [languages.canonical(step.target.partition("_")[0]) for step in path[:-1]]
    return f"via {', '.join(pivots)}" if pivots else "direct"


def table(graph: PairGraph) -> str:
    """Return a row for each language, as the source, and the languages without any pair."""
    tags = sorted(CLIENT_LANGUAGES, key=lambda tag: NAMES[tag])
    some = [
        tag for tag in tags if any(how(graph, tag, other) != "no" for other in tags if other != tag)
    ]
    rows = [
        "| from \\ to | " + " | ".join(some) + " |",
        "|---|" + "---|" * len(some),
    ]
    for source in some:
        cells = ["–" if source == target else how(graph, source, target) for target in some]  # noqa: RUF001
        rows.append(f"| {NAMES[source]} ({source}) | " + " | ".join(cells) + " |")
    none = ", ".join(f"{NAMES[tag]} ({tag})" for tag in tags if tag not in some)
    return "\n".join([*rows, "", f"No pair at all: {none}.", ""])


def main() -> None:
    """Print the table."""
    sys.stdout.write(table(read(Path(sys.argv[1]).read_text(encoding="utf-8").splitlines())))


if __name__ == "__main__":
    main()
