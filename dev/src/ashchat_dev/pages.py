"""What pages of the documentation name: tests, which have to be there."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import Final

NAMED: Final = re.compile(r"`(\w+)/(test_\w+\.py)::(test_\w+)`")
"""A test as pages name it: folder, file, function."""

FOLDERS: Final = {
    "cluster": "tests/cluster",
    "manifests": "tests/manifests",
    "operator": "operator/tests",
    **{
        name: f"services/{name}/tests"
        for name in ("auth", "chat", "core", "email", "static", "translate")
    },
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
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
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
