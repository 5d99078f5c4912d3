"""Data for programs: JSON or YAML in one versioned shape."""

import json
from enum import StrEnum
from typing import Any, Final

import yaml

API_VERSION: Final = "cli.ashchat.dev/v1alpha1"
"""Within this version fields are added, never renamed or removed."""


class Format(StrEnum):
    """The output format."""

    TEXT = "text"
    JSON = "json"
    YAML = "yaml"


def document(kind: str, data: dict[str, Any], chosen: Format) -> str:
    """Return a document of this kind."""
    body = {"apiVersion": API_VERSION, "kind": kind, **data}
    if chosen is Format.JSON:
        return json.dumps(body, indent=2, ensure_ascii=False)
    return yaml.safe_dump(body, sort_keys=False, allow_unicode=True).rstrip()
