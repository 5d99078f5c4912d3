"""Restart services when something changes that they read only at the start.

A client of Redis follows a new login and a new authority, but not a new address or prefix:
its subscriptions would stay with the old server. So the address is part of the pod template.
"""

import base64
import hashlib
from typing import Final
from urllib.parse import urlsplit

from ashchat_core.api.names import Annotation
from ashchat_core.topology import REDIS_GRANTS
from ashchat_operator.resource.types import Object

_FILES: Final = tuple(dict.fromkeys(f"{grant.credential}.uri" for grant in REDIS_GRANTS))


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
    """Return a digest of the external addresses, or an empty string if there are none."""
    addresses = [
        address for file in _FILES if (address := _outside(base64.b64decode(data.get(file, ""))))
    ]
    return hashlib.sha256(" ".join(addresses).encode()).hexdigest()[:12] if addresses else ""


def _outside(uri: bytes) -> str:
    """Return the URI of an external backend without its login; empty for a managed one."""
    parts = urlsplit(uri.decode())
    if parts.scheme != "rediss" and not parts.query:
        return ""
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
