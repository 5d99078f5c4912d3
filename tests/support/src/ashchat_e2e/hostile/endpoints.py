"""Requests near valid ones to every endpoint that the services describe."""

import random
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, Final

import httpx2

from ashchat_e2e.hostile.attacks import Sample
from ashchat_e2e.hostile_input import variants
from ashchat_e2e.queue_readers import example_of

DESCRIPTIONS: Final = {
    "/auth/openapi.json": "/auth",
    "/chat/openapi.json": "/chat",
    "/files/openapi.json": "",
}
"""Where each service's description is, and what precedes its paths."""

OF_EACH: Final = 3
"""Samples of each endpoint."""

BODY_MAX_CHARS: Final = 6_000
"""All samples must fit into a ConfigMap, which may have 1 MiB."""

ENDING: Final = frozenset(
    {("post", "/api/user/signout"), ("delete", "/api/user/sessions"), ("delete", "/api/user")}
)
"""Endpoints that end the session of a sender, who could then do nothing else."""


async def samples(client: httpx2.AsyncClient, seed: str, *, signed_in: bool) -> list[Sample]:
    """Return requests to every endpoint of the running services.

    Args:
        client: A client of the platform.
        seed: What the variants are drawn with.
        signed_in: Leave out what would end the sender's session.
    """
    found: list[Sample] = []
    for path, prefix in DESCRIPTIONS.items():
        reply = await client.get(path)
        reply.raise_for_status()
        found += of_description(reply.json(), prefix, seed, signed_in=signed_in)
    return found


def of_description(
    description: Mapping[str, Any], prefix: str, seed: str, *, signed_in: bool
) -> list[Sample]:
    """Return requests to every endpoint of one description."""
    schemas = description.get("components", {}).get("schemas", {})
    found: list[Sample] = []
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            if signed_in and (method, path) in ENDING:
                continue
            draw = random.Random(f"{seed} {method} {path}")  # noqa: S311 (a sample)
            place = prefix + _filled(path, operation, draw)
            found += [
                Sample(method.upper(), place, body)
                for body in _bodies(operation, schemas, f"{seed} {method} {path}")
            ]
    return found


def _filled(path: str, operation: Mapping[str, Any], draw: random.Random) -> str:
    for parameter in operation.get("parameters", ()):
        name = "{" + parameter["name"] + "}"
        path = path.replace(name, str(uuid.UUID(int=draw.getrandbits(128))))
    return path


def _bodies(
    operation: Mapping[str, Any], schemas: Mapping[str, Any], seed: str
) -> Iterator[str | None]:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if content is None:
        yield None
        return
    for text in variants(example_of(content["schema"], schemas), OF_EACH, seed):
        # A lone surrogate is escaped; other texts can be sent as they are.
        yield text[:BODY_MAX_CHARS]
