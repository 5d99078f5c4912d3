"""Checks of the documentation: the tests and files that its pages refer to exist."""

import ast
import re
import subprocess
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Final

from ashchat_core.topology import Service

NAMED: Final = re.compile(r"`(\w+)/((?:\w+/)*test_\w+\.py)::(test_\w+)`")
"""A test as pages name it: folder, file, function."""

_COLUMN: Final = re.compile(r"(?<!\\)\|")
"""What separates cells; a bar with a backslash is in a cell."""

_LINK: Final = re.compile(r"\]\(<?([^)\s>]+)>?\)")
_HEADING: Final = re.compile(r"^#{1,6} +(.*?)#* *$", re.MULTILINE)
_BLOCK: Final = re.compile(r"^( *)(```|~~~).*?^\1\2 *$", re.MULTILINE | re.DOTALL)
_CODE: Final = re.compile(r"`[^`\n]+`")

FOLDERS: Final = {
    "e2e": "tests/e2e",
    "manifests": "tests/manifests",
    "operator": "operator/tests",
    "support": "tests/support/tests",
    **{name: f"services/{name}/tests" for name in ("core", *Service)},
}


def tables(page: str) -> list[list[str]]:
    """Return the rows of a page's tables, without what is above their rules, cell by cell."""
    rows: list[list[str]] = []
    for line in page.splitlines():
        if not line.startswith("|"):
            continue
        if set(line) <= set("|-: "):
            rows.pop()  # the head stands above
        else:
            rows.append([cell.strip() for cell in _COLUMN.split(line.strip("|"))])
    return rows


def missing_tests(page: str, root: Path) -> list[str]:
    """Return the tests that a page names and that are not there.

    Args:
        page: Its text.
        root: Of the repository.
    """
    return [
        f"{folder}/{file}::{name}"
        for folder, file, name in NAMED.findall(page)
        if name not in _functions_in(root / FOLDERS[folder] / file)
    ]


@cache
def _functions_in(path: Path) -> frozenset[str]:
    if not path.is_file():
        return frozenset()
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    tree = ast.parse(path.read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, functions))


def markdown_files(root: Path) -> list[Path]:
    """Return the Markdown files under version control, relative to the repository's root."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "*.md"], cwd=root, check=True, capture_output=True, text=True
    ).stdout
    return [Path(name) for name in listed.split("\0") if name and (root / name).is_file()]


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub makes from the headings of a Markdown page."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in _HEADING.findall(_BLOCK.sub("", text)):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        anchor = re.sub(r"[^\w -]", "", words).replace(" ", "-")
        found.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
        seen[anchor] += 1
    return found


def missing_paths(page: Path, root: Path) -> list[str]:
    """Return the paths named in backticks on a page that do not exist in the repository.

    A path begins with a file or folder of the repository's root; `*` stands for any name. What
    `make` creates does not count.
    """
    tops = {entry.name for entry in root.iterdir()} - {".ashchat", ".venv"}
    named = re.findall(r"`([\w.*-]+(?:/[\w.*-]+)*/?)`", _BLOCK.sub("", page.read_text()))
    return [
        path
        for path in named
        if ("/" in path or path in tops)
        and path.partition("/")[0] in tops
        and not any(root.glob(path.rstrip("/")))
    ]


def broken_links(page: Path) -> list[str]:
    """Return the relative links of a Markdown page whose file or anchor does not exist."""
    text = page.read_text()
    prose = _CODE.sub("", _BLOCK.sub("", text))
    return [link for link in _LINK.findall(prose) if not _resolves(page, text, link)]


def _resolves(page: Path, text: str, link: str) -> bool:
    if re.match(r"[a-z][a-z+.-]*:", link):
        return True  # an address on the web
    name, _, anchor = link.partition("#")
    target = page.parent / name if name else page
    if not target.exists():
        return False
    return not anchor or anchor in anchors(text if target == page else target.read_text())
