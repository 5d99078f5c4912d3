import io
import json
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ashchat_node import images, rootfs
from ashchat_node.errors import NodeError, tail
from ashchat_node.gotools import (
    TOOLS,
    GoTools,
    build_arguments,
    module_version,
    parse_go_version,
)
from ashchat_node.mounts import parse_mount_points
from ashchat_node.packages import parse_missing
from ashchat_node.progress import PlainProgress
from ashchat_node.rootfs import Mirrors, parse_mirrors, sources_list
from ashchat_node.tools import ALL_TOOLS, COREDNS, KUBERNETES


def test_go_version() -> None:
    assert parse_go_version("go version go1.26.8 linux/amd64") == (1, 26, 8)
    assert parse_go_version("go version go1.27 linux/arm64") == (1, 27, 0)
    assert parse_go_version("gccgo") is None


@pytest.mark.parametrize("name", ALL_TOOLS)
def test_every_tool_is_pinned(name: str) -> None:
    tool = ALL_TOOLS[name]
    go_mod = (TOOLS / name / "go.mod").read_text()
    assert module_version(go_mod, tool.module).startswith("v")
    declared = {
        line.removeprefix("tool").strip().rsplit("/", 1)[-1]
        for line in go_mod.splitlines()
        if line.startswith(("tool ", "\t")) and line.count(" ") == line.startswith("tool ")
    }
    for binary in tool.binaries:
        # A last path element like v3 is a major version: the name is the one before it.
        assert binary in declared or any(each.startswith("v") for each in declared)


def test_an_absent_module_is_named() -> None:
    with pytest.raises(ValueError, match=r"example\.org/x"):
        module_version("module a\n", "example.org/x")


def test_versions_and_tags_reach_the_linker() -> None:
    joined = " ".join(build_arguments(KUBERNETES, "v1.2.3"))
    assert "-X k8s.io/component-base/version.gitVersion=v1.2.3" in joined
    assert not any(each.startswith("-tags") for each in build_arguments(COREDNS, "v1"))


def test_a_changed_pin_changes_the_folder(tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    shutil.copytree(TOOLS / "etcd", tools / "etcd")
    before = GoTools(tmp_path, tools=tools).folder("etcd")
    assert before == GoTools(tmp_path, tools=tools).folder("etcd")
    with (tools / "etcd" / "go.sum").open("a") as file:
        file.write("\n")
    assert GoTools(tmp_path, tools=tools).folder("etcd") != before


def test_what_is_not_built_is_not_found_and_nothing_is_tidied(tmp_path: Path) -> None:
    tools = GoTools(tmp_path)
    assert tools.built("etcd") is None
    (tmp_path / "gobuild").mkdir()
    assert tools.tidy() is False
    assert tools.caches_exist()


DEB822 = """\
Types: deb
# a comment
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
"""


@pytest.mark.parametrize(
    ("sources", "mirrors"),
    [
        (DEB822, Mirrors("http://mirror.example/debian", "http://mirror.example/debian-security")),
        (
            (
                "deb [signed-by=/x] http://a.example/debian/ bookworm main\n"
                "deb https://other.example/node_20.x nodistro main\n"
            ),
            Mirrors("http://a.example/debian/"),
        ),
        ("deb https://other.example/ubuntu jammy main\n", None),
        ("# deb http://a.example/debian bookworm main\n", None),
    ],
)
def test_mirrors(sources: str, mirrors: Mirrors | None) -> None:
    assert parse_mirrors([sources]) == mirrors


def test_unstable_has_no_updates() -> None:
    mirrors = Mirrors("http://m/debian", "http://m/debian-security")
    assert sources_list("sid", mirrors) == "deb http://m/debian sid main\n"
    assert sources_list("trixie", mirrors).splitlines()[1:] == [
        "deb http://m/debian trixie-updates main",
        "deb http://m/debian-security trixie-security main",
    ]


def test_a_base_is_named_by_what_is_in_it(tmp_path: Path) -> None:
    one = rootfs.archive_path("trixie", ("a", "b"), tmp_path)
    assert one == rootfs.archive_path("trixie", ("b", "a"), tmp_path)
    assert one != rootfs.archive_path("trixie", ("a",), tmp_path)
    assert one != rootfs.archive_path("sid", ("a", "b"), tmp_path)


def test_missing_packages() -> None:
    output = "runc install ok installed\nsocat deinstall ok config-files\n"
    assert parse_missing(("runc", "socat", "ipset"), output) == ["socat", "ipset"]


def test_mount_points_with_spaces() -> None:
    line = "36 35 98:0 /mnt1 /mnt\\040two rw,noatime master:1 - ext3 /dev/root rw"
    assert parse_mount_points(line) == [Path("/mnt two")]


def test_images_share_a_layer_and_come_out_the_same(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF")
    program.chmod(0o755)
    base = tmp_path / "base.tar"
    with tarfile.open(base, "w") as tar:
        tar.addfile(tarfile.TarInfo("etc"))
    both = [
        images.Image("localhost/a:1", {"usr/bin/a": program}, ("/usr/bin/a",), rootfs=base),
        images.Image("localhost/b:1", {"usr/bin/b": program}, ("/usr/bin/b",), rootfs=base),
    ]
    first, second = tmp_path / "first.tar", tmp_path / "second.tar"
    images.write_archive(first, both)
    images.write_archive(second, both)
    with tarfile.open(first) as tar:
        names = tar.getnames()
        manifest = json.load(tar.extractfile("manifest.json") or io.BytesIO())
        assert names.count(manifest[0]["Layers"][0]) == 1
        assert manifest[0]["Layers"][0] == manifest[1]["Layers"][0]
        assert [each["RepoTags"] for each in manifest] == [["localhost/a:1"], ["localhost/b:1"]]
        config = json.load(tar.extractfile(manifest[0]["Config"]) or io.BytesIO())
        assert config["config"]["Entrypoint"] == ["/usr/bin/a"]
        digests = [f"{each.removeprefix('sha256:')}.tar" for each in config["rootfs"]["diff_ids"]]
        assert digests == manifest[0]["Layers"]
    with tarfile.open(second) as tar:
        assert sorted(tar.getnames()) == sorted(names)
    assert not list(tmp_path.glob("layer-*"))


def test_merged_archives_contain_all_images_and_each_layer_once(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF")
    base = tmp_path / "base.tar"
    with tarfile.open(base, "w") as tar:
        tar.addfile(tarfile.TarInfo("etc"))
    wanted = [
        images.Image(f"localhost/{name}:1", {f"usr/bin/{name}": program}, rootfs=base)
        for name in ("a", "b", "c")
    ]
    whole, merged = tmp_path / "whole.tar", tmp_path / "merged.tar"
    images.write_archive(whole, wanted)

    def parts() -> Iterator[Path]:
        for number, image in enumerate(wanted):
            part = tmp_path / f"part-{number}.tar"
            images.write_archive(part, [image])
            yield part
            part.unlink()

    images.merge(merged, parts())
    assert contents(merged) == contents(whole)


def contents(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as tar:
        names = tar.getnames()
        assert len(set(names)) == len(names)
        return {name: (tar.extractfile(name) or io.BytesIO()).read() for name in names}


def test_the_tail_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("\n".join(str(number) for number in range(100)))
    assert tail(log, 2) == "98\n99"
    assert tail(tmp_path / "absent") == ""


def test_progress_reports_a_failure() -> None:
    out = io.StringIO()
    progress = PlainProgress(out)
    with pytest.raises(NodeError), progress.step("build"):
        raise NodeError("build", "no disk")
    assert "> build" in out.getvalue()
    assert "x build failed" in out.getvalue()
