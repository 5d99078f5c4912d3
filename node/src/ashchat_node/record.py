"""What is recorded of the node, and what is reported of it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ashchat_node import kubeadm
from ashchat_node.footprint import Footprint

State = Literal["absent", "running", "stopped", "unfinished"]


@dataclass(frozen=True)
class Record:
    """Describes a node that was begun; its presence marks the machine as ours.

    Attributes:
        programs: The programs of the node, which it uses until `down`.
        versions: Their versions.
        footprint: The machine before the node.
        initialised: Whether `kubeadm init` succeeded.
    """

    programs: Mapping[str, Path]
    versions: kubeadm.Versions
    footprint: Footprint
    initialised: bool

    def write(self, file: Path) -> None:
        """Write the record atomically."""
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        unfinished = file.with_suffix(".tmp")
        unfinished.write_text(
            json.dumps(
                {
                    "programs": {name: str(path) for name, path in self.programs.items()},
                    "versions": vars(self.versions),
                    "footprint": vars(self.footprint),
                    "initialised": self.initialised,
                },
                indent=2,
            )
        )
        unfinished.rename(file)

    @classmethod
    def read(cls, file: Path) -> "Record | None":
        """Return the record of the existing node, if any."""
        try:
            value = json.loads(file.read_text())
        except FileNotFoundError:
            return None
        return cls(
            programs={name: Path(path) for name, path in value["programs"].items()},
            versions=kubeadm.Versions(**value["versions"]),
            footprint=Footprint.parse(value["footprint"]),
            initialised=value["initialised"],
        )


@dataclass(frozen=True)
class Status:
    """The state of the node.

    Attributes:
        state: absent; running (responds and is Ready); stopped (its processes died, `up`
            resumes it); unfinished (`up` was interrupted and will re-create it).
        kubernetes: Its version, empty when absent.
        kubeconfig: The administrator's kubeconfig.
        outdated: Whether this package would build other programs than it runs.
    """

    state: State
    kubernetes: str
    kubeconfig: Path
    outdated: bool = False
