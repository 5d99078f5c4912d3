"""Find phrases that a native reader would stumble over: `python -m ashchat_dev.prose`.

The phrases are in dev/prose/phrases.yaml. dev/prose/not-yet-edited.txt has patterns of paths that
are exempt until they are edited. A pattern that has become superfluous must be removed with
`--shrink`, so that the paths stay clean.
"""

import argparse
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

import yaml

from ashchat_dev.images import ROOT

PHRASES: Final = ROOT / "dev" / "prose" / "phrases.yaml"
NOT_YET_EDITED: Final = ROOT / "dev" / "prose" / "not-yet-edited.txt"

CHECKED: Final = (
    "*.md",
    "*.py",
    "crds/*",
    "charts/*",
    "examples/*",
    "*Containerfile",
    "*.env.example",
    ".github/*",
    "Makefile",
    "pyproject.toml",
)
NOT_OURS: Final = (
    "*_pb2.py",
    "*/common_passwords/*",
    "*/templates/words/*",
    "dev/tests/test_prose.py",
)
"""Generated code, texts in other languages or addressed to users, and the phrases as test data."""

_MARKDOWN_BLOCK: Final = re.compile(r"^( *)(```|~~~).*?^\1\2 *$", re.MULTILINE | re.DOTALL)
_CODE: Final = re.compile(r"`[^`]*`")
_TEST_NAME: Final = re.compile(r"\bdef (test_\w+)")


@dataclass(frozen=True, slots=True)
class Phrase:
    """A phrase to avoid.

    Attributes:
        pattern: Matches the phrase.
        instead: What to write.
    """

    pattern: re.Pattern[str]
    instead: str


@dataclass(frozen=True, slots=True)
class Hit:
    """A place where a phrase occurs."""

    line: int
    text: str
    instead: str


def phrases(path: Path = PHRASES) -> list[Phrase]:
    """Read the list of phrases."""
    return [
        Phrase(_compiled(entry["pattern"]), entry["instead"])
        for entry in yaml.safe_load(path.read_text())
    ]


def _compiled(pattern: str) -> re.Pattern[str]:
    """Compile a phrase: whole words, any case, and any whitespace where it has a space."""
    return re.compile(rf"\b(?:{pattern.replace(' ', chr(92) + 's+')})\b", re.IGNORECASE)


def files(root: Path = ROOT) -> list[str]:
    """Return the checked files under version control, relative to the repository's root."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=root, check=True, capture_output=True, text=True
    ).stdout
    return [
        name
        for name in listed.split("\0")
        if any(fnmatch(name, pattern) for pattern in CHECKED)
        and not any(fnmatch(name, pattern) for pattern in NOT_OURS)
        and (root / name).is_file()
    ]


def prose(name: str, source: str) -> Iterator[tuple[int, str]]:
    """Yield (first line, text) for each piece of prose in a file."""
    if name.endswith(".py"):
        yield from _python_prose(source)
    elif name.endswith(".md"):
        yield 1, _MARKDOWN_BLOCK.sub(_blank, source)
    else:
        yield 1, source


def hits(name: str, source: str, wanted: Sequence[Phrase]) -> list[Hit]:
    """Return where phrases occur in a file, in order."""
    found = []
    for first, text in prose(name, source):
        plain = _CODE.sub(_blank, text)
        # A phrase may be broken across two lines: whitespace and comment signs become a space.
        flat = re.sub(r"\n[ \t]*#?[ \t]*", lambda match: " " * len(match[0]), plain)
        for phrase in wanted:
            for match in phrase.pattern.finditer(flat):
                line = first + plain.count("\n", 0, match.start())
                found.append(Hit(line, " ".join(match[0].split()), phrase.instead))
    return sorted(found, key=lambda hit: hit.line)


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the repository; print each hit, and return 1 if there is one."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--shrink",
        action="store_true",
        help=f"remove superfluous patterns from {NOT_YET_EDITED.name}",
    )
    parser.add_argument("paths", nargs="*", help="check only these files, listed or not")
    options = parser.parse_args(arguments)
    wanted, pending = phrases(), _pending()
    found = {
        name: hits(name, (ROOT / name).read_text(), wanted) for name in options.paths or files()
    }
    failed = False
    for name, places in found.items():
        if not options.paths and any(fnmatch(name, pattern) for pattern in pending):
            continue
        for hit in places:
            failed = True
            sys.stdout.write(f"{name}:{hit.line}: “{hit.text}”: {hit.instead}\n")
    if options.paths:
        return int(failed)
    superfluous = [pattern for pattern in pending if not _used(pattern, found)]
    if options.shrink:
        _write_pending(pattern for pattern in pending if pattern not in superfluous)
        return int(failed)
    for pattern in superfluous:
        failed = True
        sys.stdout.write(
            f"{pattern} is clean. Run .venv/bin/python -m ashchat_dev.prose --shrink\n"
        )
    return int(failed)


def _used(pattern: str, found: Mapping[str, Sequence[Hit]]) -> bool:
    """Return whether a pattern of paths still exempts a file that has a hit."""
    return any(places and fnmatch(name, pattern) for name, places in found.items())


def _python_prose(source: str) -> Iterator[tuple[int, str]]:
    """Yield comments (consecutive lines joined), strings, and the words of tests' names."""
    kinds = {tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
    comment: list[str] = []
    begun = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        line = token.start[0]
        if comment and line > begun + len(comment):
            yield begun, "\n".join(comment)
            comment = []
        if token.type == tokenize.COMMENT:
            begun = begun if comment else line
            comment.append(token.string)
        elif token.type in kinds:
            yield line, _without_expressions(token.string)
    if comment:
        yield begun, "\n".join(comment)
    for match in _TEST_NAME.finditer(source):
        yield source.count("\n", 0, match.start()) + 1, match[1].replace("_", " ")


def _without_expressions(string: str) -> str:
    """Blank the expressions of an f-string, which Python 3.11 does not tokenize."""
    is_formatted = "f" in string.partition('"')[0].lower()
    return re.sub(r"\{[^{}]*\}", _blank, string) if is_formatted else string


def _blank(match: re.Match[str]) -> str:
    """Replace code by a sign that is no word, and keep the line numbers."""
    return re.sub(r"[^\n]", "·", match[0])


def _pending() -> list[str]:
    lines = NOT_YET_EDITED.read_text().splitlines() if NOT_YET_EDITED.is_file() else []
    return [line for line in lines if line and not line.startswith("#")]


def _write_pending(names: Iterable[str]) -> None:
    head = "# Paths that the language pass has not reached; see dev/src/ashchat_dev/prose.py.\n"
    NOT_YET_EDITED.write_text(head + "".join(f"{name}\n" for name in sorted(names)))


if __name__ == "__main__":
    raise SystemExit(main())
