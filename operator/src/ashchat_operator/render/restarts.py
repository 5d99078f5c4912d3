"""Restart services when something changes that they read only at the start.

A client of Redis follows a new login and a new authority, but not a new address or prefix:
its subscriptions would stay with the old server. So the address is part of the pod template.
"""

import base64
import hashlib
from typing import Final
from urllib.parse import urlsplit

from ashchat_core.api.names import Annotation
from ashchat_operator.resource.types import Object

_FILE: Final = "redis.uri"


def at_another_redis(objects: list[Object]) -> None:
    """Annotate the pods that mount an external Redis's Secret with a digest of the address.

    Args:
        objects: All objects; the pod templates among them are changed.
    """
    digests = {
        item["metadata"]["name"]: found
        for item in objects
        if item["kind"] == "Secret" and (found := _external(item["data"]))
    }
    for item in objects:
        if item["kind"] != "Deployment":
            continue
        template = item["spec"]["template"]
        for volume in template["spec"]["volumes"]:
            digest = digests.get(volume.get("secret", {}).get("secretName"))
            if digest:
                annotations = template["metadata"].setdefault("annotations", {})
                annotations[Annotation.REDIS_SERVER.value] = digest


def _external(data: dict[str, str]) -> str:
    """Return a digest of an external address, or an empty string for a managed backend."""
    parts = urlsplit(base64.b64decode(data.get(_FILE, "")).decode())
    where = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    outside = parts.scheme == "rediss" or parts.query
    return hashlib.sha256(where.encode()).hexdigest()[:12] if outside else ""
