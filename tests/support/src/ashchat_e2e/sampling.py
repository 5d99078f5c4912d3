"""Seeded samples of what is too much to try in every run; `make soak` tries all of it."""

import os
import random
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final, TypeVar

T = TypeVar("T")

WHOLE: Final = "ASHCHAT_SOAK"
"""The environment variable that asks for everything, whatever its value."""


@cache
def seed() -> str:
    """Return the seed: ASHCHAT_SEED, else the commit that is checked out.

    So every commit tries other members of a class, and a run of the same commit the same ones.
    """
    if given := os.environ.get("ASHCHAT_SEED"):
        return given
    done = subprocess.run(
        ["git", "rev-parse", "--short=8", "HEAD"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "0"


def whole() -> bool:
    """Return whether sweeps try all members."""
    return bool(os.environ.get(WHOLE))


def sample(members: Sequence[T], count: int, what: str) -> list[T]:
    """Return some of the members, in their order; all of them in `make soak`.

    Args:
        members: The class.
        count: How many to return at most.
        what: The sweep's name, so that two sweeps draw independently.
    """
    if whole() or count >= len(members):
        return list(members)
    draw = random.Random(f"{seed()} {what}")  # noqa: S311 (a sample, not a secret)
    return [members[place] for place in sorted(draw.sample(range(len(members)), count))]
