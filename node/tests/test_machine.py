from dataclasses import replace
from pathlib import Path

import pytest

from ashchat_node.machine import (
    GIB,
    Machine,
    foreign,
    overlapping,
    parse_capability,
    parse_cgroup,
    parse_listening_ports,
    parse_routes,
)
from ashchat_node.paths import Paths

GOOD = Machine(
    linux=True,
    root=True,
    debian=True,
    cgroup="v2",
    missing_controllers=(),
    sys_resource=True,
    systemd=True,
    apparmor=True,
    overlay=True,
    br_netfilter=True,
    foreign=(),
    foreign_config=False,
    ports_in_use=(),
    overlapping_routes=(),
    free_disk_bytes=100 * GIB,
    memory_bytes=16 * GIB,
)


def test_a_hybrid_hierarchy_is_v1() -> None:
    mounts = "\n".join(
        f"cgroup /sys/fs/cgroup/{name} cgroup rw,relatime,{name} 0 0"
        for name in ("cpu", "cpuset", "memory", "devices", "freezer", "pids")
    )
    mounts += "\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0"
    assert parse_cgroup(mounts) == ("v1", ())


def test_v2_and_missing_v1_controllers() -> None:
    assert parse_cgroup("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0") == ("v2", ())
    version, missing = parse_cgroup("cgroup /sys/fs/cgroup/cpu cgroup rw,cpu,cpuacct 0 0")
    assert version == "v1"
    assert "memory" in missing
    assert "cpu" not in missing


@pytest.mark.parametrize(("mask", "present"), [("000001fffeffffff", False), ("1ffffffffff", True)])
def test_capability(mask: str, *, present: bool) -> None:
    assert parse_capability(f"Name:\tx\nCapEff:\t{mask}\n", 24) is present


def test_only_listening_ports_count() -> None:
    table = (
        "  sl  local_address rem_address   st\n"
        "   0: 0100007F:192B 00000000:0000 0A 00000000:00000000 00:00000000\n"
        "   1: 0100007F:280A 0100007F:9999 01 00000000:00000000 00:00000000\n"
    )
    assert parse_listening_ports(table) == {6443}


def test_routes_without_the_default_and_our_own() -> None:
    table = (
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
        "eth0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "eth0\t0000F40A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
        "ashchat0\t0000F40A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
    )
    routes = parse_routes(table, "ashchat0")
    assert routes == ["10.244.0.0/16"]
    assert overlapping(routes, ["10.244.0.0/24"]) == ("10.244.0.0/16",)
    assert overlapping(["192.168.0.0/16"], ["10.244.0.0/24"]) == ()


def test_a_good_machine_is_not_refused() -> None:
    assert GOOD.refusals(building=True) == []


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"linux": False}, "Linux"),
        ({"root": False}, "root"),
        ({"debian": False}, "apt-get"),
        ({"missing_controllers": ("memory",)}, "memory"),
        ({"overlay": False}, "overlayfs"),
        ({"foreign": ("k3s (17)",)}, "k3s (17)"),
        ({"foreign_config": True}, "/etc/kubernetes"),
        ({"ports_in_use": (6443,)}, "API server"),
        ({"overlapping_routes": ("10.0.0.0/8",)}, "10.0.0.0/8"),
        ({"free_disk_bytes": 2 * GIB}, "disk"),
        ({"memory_bytes": GIB}, "memory"),
    ],
)
def test_every_obstacle_is_named(change: dict[str, object], word: str) -> None:
    (refusal,) = replace(GOOD, **change).refusals(building=False)  # type: ignore[arg-type]
    assert word in refusal


def test_building_needs_more_disk_than_running() -> None:
    tight = replace(GOOD, free_disk_bytes=10 * GIB)
    assert tight.refusals(building=False) == []
    assert len(tight.refusals(building=True)) == 1


def test_adaptations_tell_what_is_missing() -> None:
    text = "; ".join(replace(GOOD, cgroup="v1", sys_resource=False, systemd=False).adaptations())
    assert "cgroup v1" in text
    assert "CAP_SYS_RESOURCE" in text
    assert "no systemd" in text


def process(proc: Path, pid: int, name: str, program: str, *, namespace: str) -> None:
    folder = proc / str(pid)
    (folder / "ns").mkdir(parents=True)
    (folder / "comm").write_text(f"{name}\n")
    (folder / "exe").symlink_to(program)
    (folder / "ns" / "pid").symlink_to(namespace)


def test_only_nodes_of_this_machine_are_foreign(tmp_path: Path) -> None:
    paths = Paths(cache=tmp_path / "cache")
    host, container = "pid:[1]", "pid:[2]"
    process(tmp_path, 10, "kubelet", "/usr/bin/kubelet", namespace=host)
    process(tmp_path, 11, "kubelet", f"{paths.cache}/tools/kubernetes-1/kubelet", namespace=host)
    process(tmp_path, 12, "kubelet", "/usr/local/bin/kubelet", namespace=container)  # kind's
    process(tmp_path, 13, "bash", "/bin/bash", namespace=host)
    process(tmp_path, 14, "k3s", "/usr/local/bin/k3s", namespace=host)
    (tmp_path / "self").symlink_to("13")
    assert sorted(foreign(paths, frozenset(), tmp_path)) == ["k3s (14)", "kubelet (10)"]
    assert list(foreign(paths, frozenset({10}), tmp_path)) == ["k3s (14)"]
