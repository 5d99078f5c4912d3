"""Which AshChat refers to which Secret of a person, so that an edit wakes whom it concerns."""

from collections.abc import Iterator

from pydantic import BaseModel

from ashchat_operator.resource.model import AshChat, SecretReference
from ashchat_operator.resource.types import ResourceKey


class References:
    """What the AshChats that are looked after refer to."""

    def __init__(self) -> None:
        self._names: dict[ResourceKey, frozenset[str]] = {}

    def note(self, ash: AshChat) -> None:
        """Keep what an AshChat refers to now."""
        self._names[ash.namespace, ash.name] = frozenset(referenced(ash.spec))

    def forget(self, namespace: str, name: str) -> None:
        """Forget an AshChat that is gone."""
        self._names.pop((namespace, name), None)

    def referring(self, namespace: str, secret: str) -> tuple[str, ...]:
        """Return the AshChats that refer to a Secret."""
        return tuple(
            name
            for (place, name), secrets in self._names.items()
            if place == namespace and secret in secrets
        )


def referenced(part: BaseModel) -> Iterator[str]:
    """Yield the names of all Secrets that a part of the resource refers to, at any depth."""
    if isinstance(part, SecretReference):
        yield part.name
        return
    for name in type(part).model_fields:
        value = getattr(part, name)
        if isinstance(value, BaseModel):
            yield from referenced(value)
