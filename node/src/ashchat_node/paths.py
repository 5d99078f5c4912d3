"""The node's folders, so that `down` and `clean` know what to remove."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

DEFAULT_CACHE: Final = Path("/var/cache/ashchat")


@dataclass(frozen=True)
class Paths:
    """The folders of the node.

    Attributes:
        state: The cluster itself: etcd's data, volumes, kubeconfig. Removed by `down`.
        run: Sockets, pid records, containerd's running state. Removed by `down`.
        log: Logs and the API server's audit log. Not removed by `down`.
        cache: Tools and images, which can be built again. Removed by `clean`.
    """

    state: Path = Path("/var/lib/ashchat-node")
    run: Path = Path("/run/ashchat-node")
    log: Path = Path("/var/log/ashchat-node")
    cache: Path = DEFAULT_CACHE

    @property
    def owner(self) -> Path:
        """The record of the node; it exists from the beginning of `up` to the end of `down`."""
        return self.state / "owner"

    @property
    def kubeconfig(self) -> Path:
        """The cluster administrator's kubeconfig (mode 0600)."""
        return self.state / "kubeconfig"

    @property
    def containerd_socket(self) -> Path:
        """The socket of containerd, also the kubelet's CRI endpoint."""
        return self.run / "containerd.sock"

    @property
    def audit_log(self) -> Path:
        """The API server's audit log: one JSON object per line, writes only."""
        return self.log / "audit" / "audit.log"

    @property
    def bin(self) -> Path:
        """Links to every built tool, for the user's PATH."""
        return self.cache / "bin"


def default_paths() -> Paths:
    """Return the machine's paths; ASHCHAT_CACHE moves the cache."""
    return Paths(cache=Path(os.environ.get("ASHCHAT_CACHE", DEFAULT_CACHE)).absolute())
