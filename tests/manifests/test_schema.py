"""Every object is valid by the API's published schema, unknown fields refused."""

from typing import Any

from kubernetes_validate.utils import validate

VERSION = "1.36"
UNPUBLISHED = {"CustomResourceDefinition"}
"""Their schema is recursive, and not in the package; the cluster suite applies it."""


def test_it_is_valid(manifest: dict[str, Any]) -> None:
    if manifest["kind"] not in UNPUBLISHED:
        validate(manifest, VERSION, strict=True)
