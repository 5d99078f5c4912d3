"""Sentences that nobody has said before, so that no cache has their translation.

Each has a random word, which a translator leaves as it is. The other words are enough for the
sentence to be plainly in its language: among four words, one random word decides in some of a
hundred draws that it is another language's, or none's (a unit test draws thousands).
"""

import secrets
from typing import Final

HOUSE: Final = "La casa de mi hermana {} es grande y muy hermosa."
CAT: Final = "El gato de mi hermana {} es blanco y muy grande."
TABLE: Final = "La mesa de la casa {} es verde y muy grande."
DOG: Final = "The dog of my sister and of my brother {} is black and very big."

LANGUAGES: Final = {HOUSE: "es", CAT: "es", TABLE: "es", DOG: "en"}
"""Each sentence, and its language."""


def new_word() -> str:
    """Return a word that no dictionary has."""
    return "".join(secrets.choice("aeioulmnrst") for _ in range(12))
