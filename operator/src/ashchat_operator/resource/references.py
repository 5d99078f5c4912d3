"""The Secrets that the spec of an AshChat refers to."""

from collections.abc import Iterator

from pydantic import BaseModel

from ashchat_operator.resource.model import SecretReference


def referenced(part: BaseModel) -> Iterator[str]:
    """Yield the names of all Secrets that a part of the spec refers to, at any depth."""
    if isinstance(part, SecretReference):
        yield part.name
        return
    for name in type(part).model_fields:
        value = getattr(part, name)
        if isinstance(value, BaseModel):
            yield from referenced(value)
