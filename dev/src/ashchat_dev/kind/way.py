"""Decides once where the images of a kind cluster come from."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import httpx2

from ashchat_dev.kind.settings import Way

REGISTRY: Final = "https://registry-1.docker.io/v2/"
"""The root of Docker Hub's API: it answers 401 to a client without a token (OCI distribution)."""

SECONDS_TO_ANSWER: Final = 5.0
_ANSWERS: Final = frozenset({200, 401})


@dataclass(frozen=True, slots=True)
class Decision:
    """Which way is used, and why.

    Attributes:
        way: The way.
        reason: Why, as the end of a sentence.
    """

    way: Way
    reason: str

    def __str__(self) -> str:
        match self.way:
            case "pull":
                what = "official node image, official images of the backends, MongoDB"
            case "build":
                what = "node image and all images from packages, FerretDB"
        return f"kind: {what} ({self.reason})"


def decide(wanted: Way | None, existing: Way | None, answers: Callable[[], bool]) -> Decision:
    """Decide: an existing cluster's way, the user's choice, or whether the registry answers.

    Args:
        wanted: The user's choice, if any.
        existing: The way of the existing cluster, if there is one.
        answers: Returns whether the registry answers; called only if nothing else decides.
    """
    if existing is not None:
        return Decision(existing, "as the existing cluster")
    if wanted is not None:
        return Decision(wanted, f"KIND_NODE_IMAGE={wanted}")
    if answers():
        return Decision("pull", "Docker Hub answers")
    return Decision("build", "Docker Hub does not answer")


def registry_answers(url: str = REGISTRY, seconds: float = SECONDS_TO_ANSWER) -> bool:
    """Return whether a registry answers within a few seconds.

    The answer of something else, for example of a proxy that refuses, does not count.
    """
    try:
        return httpx2.get(url, timeout=seconds).status_code in _ANSWERS
    except httpx2.HTTPError:
        return False
