"""Which writes put right what others did, for counting only.

An object that had to be written though it is wanted just as at the last look was changed or
deleted by somebody. Remembered in the process: the first look after a start tells nothing.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ashchat_operator.kube.changes import Change
from ashchat_operator.resource.types import ObjectKey, ResourceKey


class Drift:
    """What was wanted at the last look, per AshChat."""

    def __init__(self) -> None:
        self._wanted: dict[ResourceKey, dict[ObjectKey, str]] = {}

    def corrected(
        self, owner: ResourceKey, wanted: Iterable[Mapping[str, Any]], changes: Iterable[Change]
    ) -> Iterator[str]:
        """Yield the kind of each object that was put right.

        Args:
            owner: The AshChat's namespace and name.
            wanted: Its objects as rendered for this look.
            changes: What was written at this look.
        """
        before = self._wanted.get(owner)
        now = {(body["kind"], body["metadata"]["name"]): _digest(body) for body in wanted}
        self._wanted[owner] = now
        if before is None:
            return
        for change in changes:
            key = (change.kind, change.name)
            # What is wanted neither then nor now is pruned: somebody made it.
            if before.get(key) == now.get(key):
                yield change.kind

    def forget(self, owner: ResourceKey) -> None:
        """Forget an AshChat that is gone."""
        self._wanted.pop(owner, None)


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
