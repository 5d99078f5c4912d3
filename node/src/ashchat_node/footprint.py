"""Records what a node changes outside of its folders, so that `down` restores the machine.

Kubernetes and CNI use folders with fixed names. Before anything is started, it is recorded which
of them exist; `down` removes the others. Kernel settings are recorded, too.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ashchat_node import mounts, network
from ashchat_node.processes import identify

_FOLDERS: Final = (
    "/etc/kubernetes",
    "/etc/cni",
    "/var/lib/kubelet",
    "/var/lib/cni",
    "/var/lib/containers",  # buildah notes there which layers it has seen
    "/var/log/pods",
    "/var/log/containers",
    "/run/containerd",
    "/run/xtables.lock",
    "/opt/containerd",
    "/opt/cni",
    "/usr/libexec/kubernetes",
)
_UNIX_SOCKETS: Final = Path("/proc/net/unix")
_SOCKET_PATH_FIELD: Final = 7
_DOCKER_SOCKETS: Final = frozenset({Path("/var/run/docker.sock"), Path("/run/docker.sock")})
_CGROUPS: Final = Path("/sys/fs/cgroup")
_POD_CGROUPS: Final = ("kubepods", "kubepods.slice")


@dataclass(frozen=True)
class Footprint:
    """The state of the machine before the node.

    Attributes:
        absent: Folders that did not exist.
        sysctls: Kernel settings and their values.
    """

    absent: tuple[str, ...]
    sysctls: dict[str, str]

    @classmethod
    def take(cls) -> "Footprint":
        """Return the current state of the machine."""
        absent = tuple(name for name in _FOLDERS if not Path(name).exists())
        return cls(absent=absent, sysctls=network.read_sysctls())

    @classmethod
    def parse(cls, value: Any) -> "Footprint":
        """Return a recorded state."""
        return cls(absent=tuple(value["absent"]), sysctls=dict(value["sysctls"]))

    def restore(self) -> None:
        """Remove the folders that did not exist, and restore the settings.

        What Docker uses, which may have been started after the node, stays: a folder with sockets
        (the shims of every containerd have theirs in /run/containerd), and forwarding.

        Raises:
            NodeError: Something is mounted in one of the folders and in use.
        """
        sockets = parse_sockets(_UNIX_SOCKETS.read_text())
        for name in self.absent:
            path = Path(name)
            if any(path in socket.parents for socket in sockets):
                continue
            if path.is_dir():
                mounts.remove_tree(path)
            else:
                path.unlink(missing_ok=True)
        kept = frozenset(network.SYSCTLS) if _DOCKER_SOCKETS & sockets else frozenset()
        network.write_sysctls({key: self.sysctls[key] for key in self.sysctls.keys() - kept})


def parse_sockets(unix: str) -> frozenset[Path]:
    """Return the paths of the sockets in a /proc/net/unix file (proc(5))."""
    rows = [line.split(maxsplit=_SOCKET_PATH_FIELD) for line in unix.splitlines()[1:]]
    return frozenset(
        Path(row[_SOCKET_PATH_FIELD])
        for row in rows
        if len(row) > _SOCKET_PATH_FIELD and row[_SOCKET_PATH_FIELD].startswith("/")
    )


def _pod_cgroups() -> Iterator[Path]:
    """Return the kubelet's control groups: one on v2, one for each controller on v1."""
    for name in _POD_CGROUPS:
        for path in (_CGROUPS / name, *_CGROUPS.glob(f"*/{name}")):
            if path.is_dir():
                yield path


def end_pod_processes() -> None:
    """Kill the remaining processes of pods; only the kubelet puts processes into these groups."""
    for top in _pod_cgroups():
        for file in top.rglob("cgroup.procs"):
            with contextlib.suppress(OSError):  # the group may go with its last process
                for pid in file.read_text().split():
                    if process := identify(int(pid)):
                        process.end(seconds=0)


def remove_pod_cgroups() -> None:
    """Remove the kubelet's control groups, innermost first; busy ones stay."""
    for top in list(_pod_cgroups()):
        folders = [each for each in top.rglob("*") if each.is_dir()]
        for folder in [*sorted(folders, key=lambda each: -len(each.parts)), top]:
            with contextlib.suppress(OSError):
                folder.rmdir()
