"""Sentences with a random word are taken for their language."""

import pytest

from ashchat_e2e.new_sentences import LANGUAGES, new_word
from ashchat_translate.detection import judge


@pytest.mark.parametrize(("sentence", "language"), LANGUAGES.items())
def test_a_random_word_does_not_change_what_a_sentence_is_in(sentence: str, language: str) -> None:
    texts = [sentence.format(new_word()) for _ in range(2_000)]
    assert [text for text in texts if judge(text, language).verdict != "declared"] == []
