from pathlib import Path

import pytest

from ashchat_node import footprint, network
from ashchat_node.footprint import Footprint, parse_sockets

UNIX = """\
Num       RefCount Protocol Flags    Type St Inode Path
0000000068c73121: 00000003 00000000 00000000 0001 03 5095073
0000000061af804d: 00000002 00000000 00010000 0001 01  1671 {}
00000000ffff0000: 00000002 00000000 00010000 0001 01  1672 @abstract
"""


def test_the_sockets_of_a_table_are_its_paths() -> None:
    assert parse_sockets(UNIX.format("/run/a b.sock")) == {Path("/run/a b.sock")}


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    found: dict[str, str] = {}
    monkeypatch.setattr(network, "write_sysctls", found.update)
    return found


def restore(
    monkeypatch: pytest.MonkeyPatch, folder: Path, socket: Path | str, absent: tuple[Path, ...]
) -> None:
    table = folder / "unix"
    table.write_text(UNIX.format(socket))
    monkeypatch.setattr(footprint, "_UNIX_SOCKETS", table)
    sysctls = {"net/ipv4/ip_forward": "0", "kernel/panic": "0"}
    Footprint(tuple(map(str, absent)), sysctls).restore()


def test_a_folder_with_sockets_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: dict[str, str]
) -> None:
    used, unused = tmp_path / "containerd", tmp_path / "cni"
    for folder in (used / "s", unused):
        folder.mkdir(parents=True)
    restore(monkeypatch, tmp_path, used / "s" / "1f", (used, unused))
    assert used.exists()
    assert not unused.exists()
    assert written == {"net/ipv4/ip_forward": "0", "kernel/panic": "0"}


def test_forwarding_stays_enabled_for_docker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: dict[str, str]
) -> None:
    restore(monkeypatch, tmp_path, "/var/run/docker.sock", ())
    assert written == {"kernel/panic": "0"}
