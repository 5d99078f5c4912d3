"""Exponential backoff with jitter."""

import random
from typing import Final

FIRST_SECONDS: Final = 0.2
MAX_SECONDS: Final = 5.0


def backoff(attempt: int) -> float:
    """Return the seconds to wait before attempt n (from 0)."""
    ceiling = min(MAX_SECONDS, FIRST_SECONDS * 2 ** min(attempt, 10))
    return random.uniform(ceiling / 2, ceiling)  # noqa: S311 (spreads load, protects nothing)
