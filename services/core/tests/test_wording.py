"""Counts agree with their nouns."""

import pytest

from ashchat_core.wording import counted


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 users"), (1, "1 user"), (1.0, "1 user"), (2, "2 users")]
)
def test_a_count_agrees_with_its_noun(number: float, words: str) -> None:
    assert counted(number, "user") == words


def test_an_irregular_plural_is_named() -> None:
    assert counted(2, "policy", "policies") == "2 policies"
