"""The shapes of untyped data that pass between the operator's packages."""

from collections.abc import Mapping
from typing import Any, Final

Object = dict[str, Any]
"""A Kubernetes object, or a part of one, as JSON."""

ObjectView = Mapping[str, Any]
"""The same, read only."""

Data = Mapping[str, bytes]
"""A Secret's data, decoded."""

ObjectKey = tuple[str, str]
"""The kind and name of an object."""

ResourceKey = tuple[str, str]
"""The namespace and name of an AshChat."""

Live = Mapping[ObjectKey, Object]
"""The objects found in the cluster."""

WORKLOADS: Final = ("Deployment", "StatefulSet")
"""The kinds that have pod templates."""
