"""Inspects the machine: what prevents a node, and what the node adapts to."""

import ipaddress
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from ashchat_node import network
from ashchat_node.paths import Paths

CgroupVersion = Literal["v1", "v2"]

CAP_SYS_RESOURCE: Final = 24  # capabilities(7)
GIB: Final = 1024**3
MIN_FREE_DISK_BUILDING_GIB: Final = 25  # Go's caches, the images and what is between
MIN_FREE_DISK_RUNNING_GIB: Final = 4
MIN_MEMORY_GIB: Final = 4
NODE_PORTS: Final[Mapping[int, str]] = {
    6443: "the API server",
    10250: "the kubelet",
    2379: "etcd",
    2380: "etcd",
    10257: "the controller manager",
    10259: "the scheduler",
}
_V1_CONTROLLERS: Final = ("cpu", "cpuset", "memory", "devices", "freezer", "pids")
_FOREIGN_PROGRAMS: Final = frozenset(
    {"kubelet", "k3s", "k0s", "rke2", "microk8s", "kube-apiserver", "kubelite"}
)


@dataclass(frozen=True)
class Machine:
    """The properties of a machine that matter to the node.

    Attributes:
        linux: Whether it runs Linux.
        root: Whether this process is root.
        debian: Whether packages come by apt.
        cgroup: Which cgroup hierarchy the controllers are on.
        missing_controllers: Controllers that the kubelet needs and that are not mounted.
        sys_resource: Whether CAP_SYS_RESOURCE is there: without it no process may lower an
            OOM score or raise a limit, which kubelet and containerd then must not try.
        systemd: Whether systemd is the init process, so that it owns the cgroup tree.
        apparmor: Whether the kernel confines with AppArmor.
        overlay: Whether the kernel has overlayfs.
        br_netfilter: Whether bridged packets pass iptables (or can be made to).
        foreign: Other Kubernetes nodes that run here, as "name (pid)".
        foreign_config: Whether /etc/kubernetes holds a cluster that is not this node's.
        ports_in_use: Ports of NODE_PORTS that another process listens on.
        overlapping_routes: Routes of the host inside the node's own networks.
        free_disk_bytes: Free bytes where the cache is.
        memory_bytes: Memory of the machine.
    """

    linux: bool
    root: bool
    debian: bool
    cgroup: CgroupVersion
    missing_controllers: tuple[str, ...]
    sys_resource: bool
    systemd: bool
    apparmor: bool
    overlay: bool
    br_netfilter: bool
    foreign: tuple[str, ...]
    foreign_config: bool
    ports_in_use: tuple[int, ...]
    overlapping_routes: tuple[str, ...]
    free_disk_bytes: int
    memory_bytes: int

    def refusals(self, *, building: bool) -> list[str]:
        """Return the reasons why no node can be started here; empty if one can.

        Args:
            building: Whether tools or images must be built, which needs more disk space.
        """
        if not self.linux:
            return ["The node from packages needs Linux. Use Docker with kind here."]
        return [
            *self._missing(),
            *self._occupied(),
            *self._scarce(MIN_FREE_DISK_BUILDING_GIB if building else MIN_FREE_DISK_RUNNING_GIB),
        ]

    def _missing(self) -> Iterator[str]:
        if not self.root:
            yield "The node needs root (namespaces, mounts, iptables). Use sudo."
        if not self.debian:
            yield "The node installs Debian packages, and there is no apt-get here."
        if self.missing_controllers:
            names = ", ".join(self.missing_controllers)
            yield f"The kubelet needs the cgroup controllers {names}; mount them."
        if not self.overlay:
            yield "The kernel has no overlayfs (modprobe overlay)."

    def _occupied(self) -> Iterator[str]:
        if self.foreign:
            yield f"Another Kubernetes runs here: {', '.join(self.foreign)}."
        if self.foreign_config:
            yield (
                "/etc/kubernetes holds another cluster. It is left alone; remove it "
                "(kubeadm reset) if nobody needs it."
            )
        for port in self.ports_in_use:
            yield f"Port {port}, which {NODE_PORTS[port]} needs, is in use."
        if self.overlapping_routes:
            routes = ", ".join(self.overlapping_routes)
            yield (
                f"The host's network overlaps the cluster's ({network.POD_SUBNET}, "
                f"{network.SERVICE_SUBNET}): {routes}."
            )

    def _scarce(self, disk_gib: int) -> Iterator[str]:
        if self.free_disk_bytes < disk_gib * GIB:
            free = self.free_disk_bytes / GIB
            yield f"{free:.0f} GB of disk are free, {disk_gib} GB are needed."
        if self.memory_bytes < MIN_MEMORY_GIB * GIB:
            yield f"The machine has less than {MIN_MEMORY_GIB} GB of memory."

    def adaptations(self) -> list[str]:
        """Return how the node adapts to this machine, for display."""
        found = [f"cgroup {self.cgroup}"]
        if not self.sys_resource:
            found.append("no CAP_SYS_RESOURCE: OOM scores are not lowered")
        found.append("systemd cgroup driver" if self.systemd else "no systemd: own supervisors")
        if not self.br_netfilter:
            found.append("no br_netfilter: Services hide the client's address from pods")
        return found


def debian_and_root() -> bool:
    """Return whether this process can install Debian packages."""
    return os.uname().sysname == "Linux" and os.geteuid() == 0 and bool(shutil.which("apt-get"))


def parse_cgroup(mounts: str) -> tuple[CgroupVersion, tuple[str, ...]]:
    """Return the cgroup version and the missing v1 controllers from /proc/mounts.

    A machine may have both (v1 for controllers, v2 in addition); the kubelet then uses v1.
    """
    v1: set[str] = set()
    unified = False
    for line in mounts.splitlines():
        _, target, kind, options, *_ = line.split()
        if kind == "cgroup":
            v1.update(options.split(","))
        elif kind == "cgroup2" and target == "/sys/fs/cgroup":
            unified = True
    if unified:
        return "v2", ()
    return "v1", tuple(name for name in _V1_CONTROLLERS if name not in v1)


def parse_capability(status: str, capability: int) -> bool:
    """Return whether a capability is effective, from /proc/self/status."""
    match = re.search(r"^CapEff:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return match is not None and bool(int(match[1], 16) >> capability & 1)


def parse_listening_ports(tcp: str) -> set[int]:
    """Return the ports in state LISTEN of a /proc/net/tcp or tcp6 file (proc(5))."""
    listen = "0A"
    ports: set[int] = set()
    for line in tcp.splitlines()[1:]:
        fields = line.split()
        if fields[3] == listen:
            ports.add(int(fields[1].rsplit(":", 1)[1], 16))
    return ports


def overlapping(routes: Iterable[str], own: Iterable[str]) -> tuple[str, ...]:
    """Return the routes (CIDR) that overlap with one of the node's networks."""
    networks = [ipaddress.ip_network(each) for each in own]
    return tuple(
        route
        for route in routes
        if any(ipaddress.ip_network(route).overlaps(each) for each in networks)
    )


def parse_routes(text: str, own_bridge: str) -> list[str]:
    """Return the networks of /proc/net/route except the default and the node's bridge."""
    found: list[str] = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        if fields[0] == own_bridge:
            continue
        destination = int.from_bytes(bytes.fromhex(fields[1])[::-1], "big")
        mask = int.from_bytes(bytes.fromhex(fields[7])[::-1], "big")
        if mask:
            found.append(f"{ipaddress.ip_address(destination)}/{mask.bit_count()}")
    return found


def detect(paths: Paths, *, ours: frozenset[int]) -> Machine:
    """Return the properties of the machine this process runs on.

    Args:
        paths: The node's folders.
        ours: Ids of the processes that belong to this node, which are no obstacle. If there
            are any, ports are not checked, because the node uses them.
    """
    if os.uname().sysname != "Linux":
        return _elsewhere()
    proc = Path("/proc")
    cgroup, missing = parse_cgroup((proc / "mounts").read_text())
    filesystems = (proc / "filesystems").read_text().split()
    owned = paths.owner.exists()
    return Machine(
        linux=True,
        root=os.geteuid() == 0,
        debian=shutil.which("apt-get") is not None,
        cgroup=cgroup,
        missing_controllers=missing,
        sys_resource=parse_capability((proc / "self/status").read_text(), CAP_SYS_RESOURCE),
        systemd=Path("/run/systemd/system").is_dir(),
        apparmor=Path("/sys/module/apparmor/parameters/enabled").exists(),
        overlay="overlay" in filesystems or _module_exists("overlay"),
        br_netfilter=Path("/proc/sys/net/bridge").exists() or _module_exists("br_netfilter"),
        foreign=tuple(foreign(paths, ours)),
        foreign_config=not owned and _cluster_config_exists(),
        ports_in_use=() if ours or owned else _ports_in_use(),
        overlapping_routes=overlapping(
            parse_routes((proc / "net/route").read_text(), network.BRIDGE),
            (network.POD_SUBNET, network.SERVICE_SUBNET),
        ),
        free_disk_bytes=_free_bytes(paths.cache),
        memory_bytes=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
    )


def _elsewhere() -> Machine:
    return Machine(
        linux=False, root=os.geteuid() == 0, debian=False, cgroup="v2", missing_controllers=(),
        sys_resource=False, systemd=False, apparmor=False, overlay=False, br_netfilter=False,
        foreign=(), foreign_config=False, ports_in_use=(), overlapping_routes=(),
        free_disk_bytes=0, memory_bytes=0,
    )  # fmt: skip


def _cluster_config_exists() -> bool:
    return any(Path("/etc/kubernetes").glob("*.conf"))


def _module_exists(name: str) -> bool:
    if Path(f"/sys/module/{name}").exists():
        return True
    modules = Path("/lib/modules") / os.uname().release
    lists = (modules / "modules.builtin", modules / "modules.dep")
    return any(f"/{name}.ko" in each.read_text() for each in lists if each.exists())


def foreign(paths: Paths, ours: frozenset[int], proc: Path = Path("/proc")) -> Iterator[str]:
    """Return the running Kubernetes programs that do not belong to this node.

    Those in containers are no nodes of this machine (pid_namespaces(7)).
    """
    own_namespace = (proc / "self" / "ns" / "pid").readlink()
    for folder in proc.iterdir():
        if not folder.name.isdigit() or int(folder.name) in ours:
            continue
        try:
            name = (folder / "comm").read_text().strip()
            if name not in _FOREIGN_PROGRAMS:
                continue
            program = (folder / "exe").readlink()
            namespace = (folder / "ns" / "pid").readlink()
        except OSError:
            continue  # it ended meanwhile, or is a zombie that nobody reaps
        if (paths.cache / "tools") in program.parents:
            continue  # an orphan of ours; starting the node ends it
        if namespace != own_namespace:
            continue  # in a container: kind's node, or a pod of ours that outlived the kubelet
        yield f"{name} ({folder.name})"


def _ports_in_use() -> tuple[int, ...]:
    listening: set[int] = set()
    for name in ("tcp", "tcp6"):
        file = Path("/proc/net") / name
        if file.exists():
            listening |= parse_listening_ports(file.read_text())
    return tuple(port for port in NODE_PORTS if port in listening)


def _free_bytes(folder: Path) -> int:
    existing = folder
    while not existing.exists():
        existing = existing.parent
    return shutil.disk_usage(existing).free
