"""Whatever a message of the maximum length contains, it costs about the same per character."""

import time
from typing import Final

import pytest

from ashchat_core.messages import TEXT_MAX_CHARS
from ashchat_translate import detection
from ashchat_translate.document import parse
from ashchat_translate.roundtrip import RoundTrip
from ashchat_translate.tokens import WORDS

PATTERNS: Final = (
    "a", "a.", "a@a-", "a ", "*a ", "[", "[a](", "`a", "{", "{a", "{{a ", "$a$", r"\(", r"\[",
    r"\begin{a}", "/a", "http://", "http://a", "a/", "1.", "1,", "1/", "😀", "\u200d", "<a", "<b>",
    "@a", "#a ", "a_", "a: ", "Ab", "%a", ":a", "Xqaa ", "⟦0⟧ ", "**a** ", "**a", "\u0301", "a\n",
    "> ", "- a\n", "|a", "aB1", "www.", "a.b ", "a-", "(", "https://a.b/(", "好", "https://a.b/好",
    "&amp;", r"\*", "~~a", "C:\\", r"\\a", "--a", "a(", "a.a(", "[[", "{%", "<%", "Xq", "a*b ",
    "<code>", "</code>", "\ue000", "a. ", "¿",
)  # fmt: skip

SHORT_CHARS: Final = TEXT_MAX_CHARS // 4


def seconds(text: str) -> float:
    """Return the processor time for a text, the best of two."""
    best = float("inf")
    for _ in range(2):
        started = time.process_time()
        document = parse(text, "es")
        detection.judge(" ".join(sentence.words for sentence in document.sentences), "es")
        trip = RoundTrip(document, WORDS)
        trip.finish({sent: sent for sent in trip.texts})
        best = min(best, time.process_time() - started)
    return best


@pytest.mark.parametrize("pattern", PATTERNS)
def test_four_times_the_text_costs_about_four_times_as_much(pattern: str) -> None:
    """Quadratic time would be 16 times as much."""
    short = seconds((pattern * SHORT_CHARS)[:SHORT_CHARS])
    long = seconds((pattern * TEXT_MAX_CHARS)[:TEXT_MAX_CHARS])
    assert long < 9 * short + 0.01
