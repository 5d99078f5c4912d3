"""The tasks of clusters with packaged images can run, whatever exists already."""

from pathlib import Path

import pytest

from ashchat_dev import docker, graph
from ashchat_dev.images import ROOT, Sources
from ashchat_dev.kind.adaptations import Machine
from ashchat_dev.kind.cluster import KindCluster
from ashchat_dev.kind.supplies import CLUSTER, NODE_IMAGE, PackagedSupplies, ahead
from ashchat_dev.on_node import OnNode
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
