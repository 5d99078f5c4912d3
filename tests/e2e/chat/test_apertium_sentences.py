"""Two hundred sentences through the running AshChat, compared with what Apertium made of them.

`UPDATE_SENTENCES=1 make test-e2e T=chat/test_apertium_sentences.py` writes what it makes of them
now. A difference is no failure of Apertium's; it shows what a change of its version, of the pairs
or of our glue does to readers.
"""

import asyncio
import csv
import os
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pytest

from ashchat_dev.client import Person
from ashchat_dev.conversation import Participant
from ashchat_e2e.people import PersonFactory

FILE: Final = Path(__file__).with_name("apertium_sentences.tsv")
"""Written for this test: 25 sentences for each of 8 directions."""

FIELDS: Final = ("from", "to", "text", "translation")


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence and its translation."""

    source: str
    target: str
    text: str
    translation: str


def read() -> list[Sentence]:
    """Return the sentences and what Apertium made of them."""
    with FILE.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, dialect="excel-tab", quoting=csv.QUOTE_NONE)
        return [Sentence(*(row[field] for field in FIELDS)) for row in rows]


def write(sentences: list[Sentence]) -> None:
    """Write the sentences."""
    rows = [FIELDS, *((one.source, one.target, one.text, one.translation) for one in sentences)]
    FILE.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")


async def translated(
    spaniard: Person, other: Person, language: str, sentences: list[Sentence]
) -> list[Sentence]:
    """Say the sentences between Spanish and another language; return them as they are read."""
    chat_id = await spaniard.open_chat(await other.tag())
    one, two = await asyncio.gather(
        Participant.join(spaniard, chat_id), Participant.join(other, chat_id)
    )
    seen: list[Sentence] = []
    for each in sentences:
        says, hears = (two, one) if each.source == language else (one, two)
        heard = await hears.hear(await says.say(each.text))
        seen.append(replace(each, translation=heard.text))
    return seen


async def test_apertium_translates_as_it_did(person: PersonFactory) -> None:
    conversations: dict[str, list[Sentence]] = defaultdict(list)
    for sentence in read():
        conversations[({sentence.source, sentence.target} - {"es"}).pop()].append(sentence)
    spaniard, *others = await asyncio.gather(
        person("Ana", "es"), *(person("Ben", language) for language in conversations)
    )
    seen = await asyncio.gather(
        *(
            translated(spaniard, other, language, sentences)
            for other, (language, sentences) in zip(others, conversations.items(), strict=True)
        )
    )
    now = [sentence for conversation in seen for sentence in conversation]
    if os.environ.get("UPDATE_SENTENCES"):
        write(now)
        pytest.skip("the sentences were written")
    assert now == [sentence for each in conversations.values() for sentence in each]


def test_there_are_25_sentences_for_each_direction() -> None:
    counts: dict[tuple[str, str], set[str]] = defaultdict(set)
    for sentence in read():
        counts[sentence.source, sentence.target].add(sentence.text)
    assert {len(texts) for texts in counts.values()} == {25}
    assert set(counts) == {
        pair for other in ("en", "fr", "it", "pt") for pair in ((other, "es"), ("es", other))
    }
