"""Which writes corrected what others did, for counting only.

An object that had to be written although its desired state is that of the previous pass was
changed or deleted by someone else. After a start the first pass reports nothing.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator

from ashchat_operator.kube.changes import Change
from ashchat_operator.resource.types import ObjectKey, ObjectView


class Drift:
    """The desired state of one AshChat's objects at the previous pass."""

    def __init__(self) -> None:
        self._before: dict[ObjectKey, str] | None = None

    def corrected(self, desired: Iterable[ObjectView], changes: Iterable[Change]) -> Iterator[str]:
        """Yield the kind of each object that was corrected.

        Args:
            desired: The objects as rendered for this pass.
            changes: What was written in this pass.
        """
        before = self._before
        now = {(body["kind"], body["metadata"]["name"]): _digest(body) for body in desired}
        self._before = now
        if before is None:
            return
        for change in changes:
            key = (change.kind, change.name)
            # An object that is in neither was created by someone else, and pruned.
            if before.get(key) == now.get(key):
                yield change.kind


def _digest(body: ObjectView) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
