"""The security pages name nothing that does not exist; docs/assurance/asvs.md is complete."""

import re
from pathlib import Path

import pytest

from ashchat_dev.pages import NAMED, missing_tests, tables

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGE = (DOCS / "assurance" / "asvs.md").read_text()
PAGES = (
    "assurance/asvs.md",
    "assurance/security.md",
    "operations/hardening.md",
    "reference/data.md",
    "reference/limits.md",
)

NUMBER = re.compile(r"\d+\.\d+\.\d+")
CELLS = 6
VERDICTS = {"met", "documented", "absent", "partly", "not met"}

REQUIRED = {
    "6.1": 3, "6.2": 12, "6.3": 4, "6.4": 4, "6.5": 5, "6.6": 3, "6.8": 4,
    "7.1": 3, "7.2": 4, "7.3": 2, "7.4": 5, "7.5": 2, "7.6": 2,
    "9.1": 3, "9.2": 4,
}  # fmt: skip
"""Number of requirements of levels 1 and 2 per section (ASVS 5.0, chapters 6, 7 and 9);
they come first in each section."""


def rows() -> list[list[str]]:
    """Return the rows about requirements."""
    return [row for row in tables(PAGE) if len(row) == CELLS and NUMBER.fullmatch(row[0])]


def test_every_named_test_exists() -> None:
    text = PAGE.partition("## Validation")[2]
    assert len(NAMED.findall(text)) > len(rows()), "the page no longer names any tests"
    assert not missing_tests(text, ROOT)


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_a_row_has_a_verdict_and_its_evidence(row: list[str]) -> None:
    _, level, asks, verdict, how, shown_by = row
    assert level in {"1", "2", "3"}
    assert asks
    assert verdict in VERDICTS
    if verdict == "met":
        assert NAMED.search(shown_by)
    else:
        assert how, "the row must state what is missing, or where it is described"
    assert not NAMED.sub("", shown_by).strip(), "the column must contain only tests"


def test_every_requirement_about_accounts_is_listed_once() -> None:
    apply = [row[0] for row in rows()]
    others = NUMBER.findall(PAGE.partition("## Requirements that do not apply")[2])
    assert len({*apply, *others}) == len(apply) + len(others)
    required = {f"{section}.{n + 1}" for section, count in REQUIRED.items() for n in range(count)}
    assert required - {*apply, *others} == set()


@pytest.mark.parametrize("name", PAGES)
def test_settings_and_metrics_exist(name: str) -> None:
    page = (DOCS / name).read_text()
    examples = "\n".join(path.read_text() for path in ROOT.glob("services/*/.env.example"))
    for setting in set(re.findall(r"ASHCHAT_[A-Z_]+", page)):
        assert f"{setting}=" in examples, setting
    sources = "\n".join(path.read_text() for path in ROOT.glob("services/*/src/**/*.py"))
    for metric in set(re.findall(r"ashchat_[a-z_]+", page)):
        assert f'"{metric}"' in sources, metric
