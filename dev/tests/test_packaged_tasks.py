"""The tasks of clusters with packaged images can run, whatever exists already."""

from pathlib import Path

import pytest

from ashchat_dev import docker, graph
from ashchat_dev.images import ROOT, Sources
from ashchat_dev.kind.adaptations import Machine
from ashchat_dev.kind.cluster import KindCluster
from ashchat_dev.kind.supplies import CLUSTER, NODE_IMAGE, PackagedSupplies, ahead
from ashchat_dev.on_node import OnNode
from ashchat_dev.registry_images import PushedPackages, on_loopback
from ashchat_node.paths import Paths
from ashchat_node.progress import SilentProgress


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path / "state", tmp_path / "run", tmp_path / "log", tmp_path / "cache")


@pytest.fixture
def supplies(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> PackagedSupplies:
    monkeypatch.setattr(docker, "exists", lambda _: False)
    return PackagedSupplies(Sources(ROOT), KindCluster(), Machine(), paths)


def runnable(found: list[graph.Task]) -> dict[str, graph.Task]:
    named = {task.name: task for task in found}
    assert len(named) == len(found)
    graph.check(named)
    return named


def test_pushed_packages_are_those_of_the_node_under_the_registrys_name(paths: Paths) -> None:
    pushed = PushedPackages(Sources(ROOT), "registry.example/team", paths)
    local = OnNode(Sources(ROOT), paths).references()
    assert pushed.references() == {
        name: reference.replace("localhost/", "registry.example/team/")
        for name, reference in local.items()
    }
    found = runnable(pushed.tasks(SilentProgress()))
    assert {f"load {name}" for name in local} <= set(found)
    assert runnable(pushed.later(SilentProgress()))


@pytest.mark.parametrize(
    ("reference", "loopback"),
    [
        ("localhost:5001/ashchat-auth:1", True),
        ("127.0.0.1:5001/ashchat-auth:1", True),
        ("registry.example/ashchat-auth:1", False),
        ("10.0.0.1:5000/ashchat-auth:1", False),
    ],
)
def test_only_a_registry_on_this_machine_needs_no_tls(reference: str, *, loopback: bool) -> None:
    assert on_loopback(reference) is loopback


def tasks(supplies: PackagedSupplies, present: frozenset[str] | None) -> dict[str, graph.Task]:
    return runnable(supplies.tasks(lambda: None, present, SilentProgress()))


def test_the_node_from_packages_builds_the_same_images(
    supplies: PackagedSupplies, paths: Paths
) -> None:
    on_node = OnNode(Sources(ROOT), paths)
    found = runnable(on_node.tasks(SilentProgress()))
    assert on_node.references() == supplies.references()
    assert {f"load {name}" for name in supplies.references()} <= set(found)
    assert "packages" in found["base base"].needs


def test_from_empty_caches_the_cluster_waits_for_its_node_image(
    supplies: PackagedSupplies,
) -> None:
    found = tasks(supplies, None)
    assert NODE_IMAGE in found[CLUSTER].needs
    assert "base base" in found[NODE_IMAGE].needs
    assert {"tool kubernetes", "tool kind"} <= set(found[NODE_IMAGE].needs)
    assert CLUSTER in found["load auth"].needs


def test_an_existing_cluster_needs_no_node_image(supplies: PackagedSupplies) -> None:
    found = tasks(supplies, frozenset())
    assert NODE_IMAGE not in found
    assert "base base" in found


def test_loaded_images_are_not_built_again(supplies: PackagedSupplies) -> None:
    found = tasks(supplies, frozenset(supplies.references().values()))
    assert not [name for name in found if name.startswith(("image ", "load "))]


def test_the_node_image_depends_on_the_machine(supplies: PackagedSupplies, paths: Paths) -> None:
    other = PackagedSupplies(Sources(ROOT), KindCluster(), Machine(sys_resource=False), paths)
    assert supplies.node_image != other.node_image


def test_ahead_of_docker_the_node_image_is_built_after_the_node(paths: Paths) -> None:
    node = OnNode(Sources(ROOT), paths)
    progress = SilentProgress()
    found = runnable([*node.tasks(progress), *ahead(paths, progress)])
    assert found[NODE_IMAGE].needs == (CLUSTER,)
