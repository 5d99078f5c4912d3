"""What one reconcile pass leaves for the next, per AshChat.

It may be lost at any time: a pass without memory only asks backends and servers again. Everything
that must not be lost is in the status or in a Secret.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ashchat_operator.backends.external import ExternalServer
from ashchat_operator.credentials.trials import Trials
from ashchat_operator.kube.drift import Drift
from ashchat_operator.reconcile.declare import Declarer, Turns
from ashchat_operator.resource.types import ResourceKey

Wake = Callable[[], None]
"""Requests another pass of one AshChat, when something that takes long has ended."""


@dataclass(slots=True)
class Memory:
    """The memory of one AshChat."""

    declarer: Declarer
    """Declares queues and users at the backends, in the background."""
    trials: Trials
    """Tries user-provided credentials, in the background."""
    referenced: frozenset[str] = frozenset()
    """The names of the Secrets that the spec refers to."""
    unsettled_passes: int = 0
    """How many passes in a row left something to do."""
    proven: frozenset[ExternalServer] = frozenset()
    """The external backends that were found in order as they are now."""
    drift: Drift = field(default_factory=Drift)
    terminating_uid: str = ""
    """The uid of the AshChat in whose namespace nothing can be created any more."""

    async def close(self) -> None:
        """Stop the background work."""
        await self.declarer.close()
        await self.trials.close()


class Memories:
    """The memories of all AshChats."""

    def __init__(self) -> None:
        self._turns = Turns()
        self._memories: dict[ResourceKey, Memory] = {}

    def __len__(self) -> int:
        return len(self._memories)

    def of(self, key: ResourceKey, wake: Wake) -> Memory:
        """Return the memory of an AshChat; an empty one for a new AshChat."""
        if key not in self._memories:
            self._memories[key] = self._new(wake)
        return self._memories[key]

    async def rest(self, key: ResourceKey, wake: Wake) -> None:
        """Stop the background work of an AshChat and discard its results."""
        memory = self._memories.get(key)
        if memory is not None:
            await memory.close()
            fresh = self._new(wake)
            memory.declarer, memory.trials = fresh.declarer, fresh.trials

    async def forget(self, key: ResourceKey) -> None:
        """Stop the background work of an AshChat that was deleted, and forget it."""
        memory = self._memories.pop(key, None)
        if memory is not None:
            await memory.close()

    async def close(self) -> None:
        """Stop all background work."""
        for key in [*self._memories]:
            await self.forget(key)

    def referring(self, namespace: str, secret: str) -> Iterator[str]:
        """Yield the names of the AshChats that refer to a Secret."""
        for (place, name), memory in self._memories.items():
            if place == namespace and secret in memory.referenced:
                yield name

    def _new(self, wake: Wake) -> Memory:
        return Memory(Declarer(wake, self._turns), Trials(wake))
