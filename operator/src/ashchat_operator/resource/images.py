"""The image that each component runs, unless the resource overrides it.

The chart writes the table into a ConfigMap that the operator mounts; it is read at
startup. A change restarts the operator, because the chart puts its hash into the pod.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import yaml

from ashchat_core.topology import Service

COMPONENTS: Final = (
    *(service.value for service in Service),
    "apertium",
    "edge",
    "rabbitmq",
    "redis",
    "mongodb",
    "ferretdb",
    "documentdb",
)
"""The keys of the table. Engine FerretDB runs `ferretdb` and `documentdb`, not `mongodb`."""


class InvalidImagesError(ValueError):
    """The table of images has a missing, unknown or empty entry."""


@dataclass(frozen=True, slots=True)
class Images:
    """The table of images."""

    references: Mapping[str, str]

    def __getitem__(self, component: str) -> str:
        return self.references[component]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse the table from YAML.

        Raises:
            InvalidImagesError: A key is missing or unknown, or a value is not a reference.
        """
        table = yaml.safe_load(text)
        if not isinstance(table, dict):
            raise InvalidImagesError("the images file is not a mapping of component to image")
        missing = sorted(set(COMPONENTS) - set(table))
        unknown = sorted(set(table) - set(COMPONENTS))
        empty = sorted(
            key for key, value in table.items() if not isinstance(value, str) or not value
        )
        if missing or unknown or empty:
            raise InvalidImagesError(f"images: missing {missing}, unknown {unknown}, empty {empty}")
        return cls(dict(table))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the table from a file.

        Raises:
            InvalidImagesError: See `parse`.
            OSError: The file cannot be read.
        """
        return cls.parse(path.read_text(encoding="utf-8"))
