"""A Secret's data as bytes."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from ashchat_operator.resource.types import Data


def decoded(body: Mapping[str, Any]) -> Data:
    """Return a Secret's data; invalid base64 is left out (the API server rejects it)."""
    result: dict[str, bytes] = {}
    for key, value in (body.get("data") or {}).items():
        try:
            result[key] = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            continue
    return result
