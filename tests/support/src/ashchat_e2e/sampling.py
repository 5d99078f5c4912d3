"""Seeded samples of sweeps too large for every run; `make soak` runs them in full."""

import os
import random
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final, TypeVar

T = TypeVar("T")

WHOLE: Final = "ASHCHAT_SOAK"
"""The environment variable that requests full sweeps, whatever its value."""


@cache
def seed() -> str:
    """Return the seed: ASHCHAT_SEED, or else the current commit.

    So each commit tries different members, and repeated runs of one commit try the same ones.
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
        members: All members.
        count: Maximum number to return.
        what: The sweep's name, so that two sweeps draw independently.
    """
    if whole() or count >= len(members):
        return list(members)
    draw = random.Random(f"{seed()} {what}")  # noqa: S311 (a sample, not a secret)
    return [members[place] for place in sorted(draw.sample(range(len(members)), count))]
