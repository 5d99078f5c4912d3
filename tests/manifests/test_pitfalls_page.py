"""docs/assurance/pitfalls.md: each pitfall has a test, and every test that it names exists."""

from pathlib import Path

import pytest

from ashchat_dev.pages import NAMED, missing_tests, tables

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "assurance" / "pitfalls.md").read_text()


def test_every_named_test_exists() -> None:
    assert not missing_tests(PAGE, ROOT)


@pytest.mark.parametrize("row", tables(PAGE), ids=lambda row: row[0][:40])
def test_a_pitfall_has_a_test(row: list[str]) -> None:
    assert NAMED.search(row[-1])
