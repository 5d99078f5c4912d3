"""The shapes of untyped data that pass between the operator's packages."""

from collections.abc import Mapping
from typing import Any

Object = dict[str, Any]
"""A Kubernetes object, or a part of one, as JSON."""

Data = Mapping[str, bytes]
"""A Secret's data, decoded."""

Key = tuple[str, str]
"""An object's kind and name."""

Live = Mapping[Key, Object]
"""The objects found in the cluster, by kind and name."""
