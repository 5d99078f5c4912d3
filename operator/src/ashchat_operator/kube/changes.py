"""Writes to the cluster, as they are counted and logged."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Change:
    """What was written, for example "applied Deployment demo-chat"."""

    description: str
    kind: str
    name: str

    def __str__(self) -> str:
        return self.description
