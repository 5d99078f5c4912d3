"""Where the images and programs of a kind cluster come from: registries, or packages."""

from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from ashchat_dev import docker, programs
from ashchat_dev.graph import Batched, Task
from ashchat_dev.images import GOOGLE_TEST, OURS, ROOT, Base, Image, Sources
from ashchat_dev.kind.adaptations import Machine
from ashchat_dev.kind.cluster import KindCluster
from ashchat_dev.kind.inside import ClusterInside
from ashchat_dev.kind.node_image import TOOLS, NodeImage
from ashchat_dev.packaged_images import AVAILABLE, EXTRA_TOOLS, PackagedImages
from ashchat_dev.programs import LOGS
from ashchat_dev.target import Engine
from ashchat_node import images, kubeadm, metrics
from ashchat_node.gotools import GoTools
from ashchat_node.node import Node
from ashchat_node.node_images import content
from ashchat_node.paths import Paths
from ashchat_node.progress import Progress, Step

Action = Callable[[], object]
Present = AbstractSet[str] | None

CLUSTER: Final = "cluster"
"""The task that creates the cluster."""

NODE_IMAGE: Final = "node image"
"""The task that builds the node image."""

METRICS_IMAGE: Final = "registry.k8s.io/metrics-server/metrics-server"


def ahead(paths: Paths, progress: Progress) -> list[Task]:
    """Return the task that builds the node image on a machine with a node from packages.

    It runs after that node's task and needs no Docker, so that a later `make up` finds the image.
    """
    node = Node(paths)
    built = PackagedImages(Sources(ROOT), paths, node.tools, node.builder)
    image = NodeImage(paths, node.tools, node.builder, Machine.this())
    if image.prepared():
        return []

    def prepare() -> None:
        built.make_base("base", progress)
        image.prepare(built.base_reference("base"), progress)

    return [Task(NODE_IMAGE, "images", prepare, (CLUSTER,))]


class Supplies(Protocol):
    """The images and programs of a kind cluster."""

    @property
    def engine(self) -> Engine:
        """The database engine that there are images for."""

    @property
    def node_image(self) -> str | None:
        """The node image; None for kind's default."""

    @property
    def archives(self) -> Path | None:
        """The folder of exported images, which the nodes must see; None if there is none."""

    def references(self) -> dict[str, str]:
        """Return image name → reference of all that is built here."""

    def reference(self, image: Image) -> str:
        """Return an image's name and tag, whether it is built or not."""

    def program(self, name: str, progress: Progress) -> Path:
        """Return kind, kubectl or helm."""

    def tasks(self, create: Action, present: Present, progress: Progress) -> list[Task]:
        """Return the tasks until the cluster runs and has every image.

        Args:
            create: Creates or completes the cluster.
            present: The references of the images that the cluster has; None if there is none.
            progress: Receives the steps.
        """

    def later(
        self, inside: ClusterInside, present: AbstractSet[str], progress: Progress
    ) -> list[Task]:
        """Return the tasks that only tests need."""


class PulledSupplies:
    """Official images from registries; ours are built by Docker on official bases."""

    engine: Engine = "MongoDB"
    node_image: str | None = None
    archives: Path | None = None

    def __init__(self, sources: Sources, cluster: KindCluster) -> None:
        self._sources = sources
        self._cluster = cluster

    def references(self) -> dict[str, str]:
        """Return what is built here; the chart names the official images of the rest."""
        return {image.name: self.reference(image) for image in OURS}

    def reference(self, image: Image) -> str:
        """Return an image's name and tag, whether it is built or not."""
        return f"localhost/ashchat-{image.name}:{self._sources.tag(image, 'docker')}"

    def program(self, name: str, progress: Progress) -> Path:
        """Return the user's own program, or one that is built."""
        return programs.program(name, progress)

    def tasks(self, create: Action, present: Present, progress: Progress) -> list[Task]:
        """Return the tasks of the cluster and of the missing images."""
        return [
            Task(CLUSTER, CLUSTER, create),
            *self._image_tasks(OURS, present or frozenset(), progress, (CLUSTER,)),
        ]

    def later(
        self, inside: ClusterInside, present: AbstractSet[str], progress: Progress
    ) -> list[Task]:
        """Return the tasks of the image of Google's server and of metrics-server."""
        version = GoTools(programs.CACHE, log=LOGS).version(metrics.NAME)
        install = partial(inside.measure, f"{METRICS_IMAGE}:{version}", progress)
        return [
            *self._image_tasks((GOOGLE_TEST,), present, progress),
            Task(metrics.NAME, "later", install),
        ]

    def _image_tasks(
        self,
        wanted: Iterable[Image],
        present: AbstractSet[str],
        progress: Progress,
        cluster: tuple[str, ...] = (),
    ) -> list[Task]:
        tasks: list[Task] = []
        load = partial(self._load, progress)
        for image in wanted:
            if (reference := self.reference(image)) in present:
                continue
            built = f"image {image.name}"
            build = partial(docker.build, reference, image, self._sources, progress, LOGS)
            tasks += [
                Task(built, "images", build),
                Task(f"load {image.name}", "load", Batched(load, reference), (built, *cluster)),
            ]
        return tasks

    def _load(self, progress: Progress, references: Sequence[str]) -> None:
        with progress.step(images.described("load", references)) as step:
            kind = self.program("kind", progress)
            self._cluster.load(kind, references, LOGS / "load.log", step)


class PackagedSupplies:
    """Node image, programs and all images from packages."""

    engine: Engine = PackagedImages.engine

    def __init__(
        self, sources: Sources, cluster: KindCluster, machine: Machine, paths: Paths
    ) -> None:
        self._cluster = cluster
        self._paths = paths
        self._node = Node(paths)  # shares its caches
        self._tools = self._node.tools
        self._builder = self._node.builder
        self._images = PackagedImages(sources, paths, self._tools, self._builder)
        self._node_image = NodeImage(paths, self._tools, self._builder, machine)

    @property
    def node_image(self) -> str | None:
        """The node image, which contains no pod network."""
        return self._node_image.reference()

    @property
    def archives(self) -> Path | None:
        """The folder of exported images, which the nodes must see."""
        return self._builder.exports

    def references(self) -> dict[str, str]:
        """Return image name → reference, for all images of an AshChat."""
        return self._images.references()

    def reference(self, image: Image) -> str:
        """Return an image's name and tag, whether it is built or not."""
        return self._images.reference(image)

    def program(self, name: str, progress: Progress) -> Path:
        """Return a program that is built from its Go module."""
        tool = "kubernetes" if name == "kubectl" else name
        return self._tools.build(tool, progress)[name]

    def tasks(self, create: Action, present: Present, progress: Progress) -> list[Task]:
        """Return the tasks of the node image, the cluster, the Go tools and the missing images."""
        missing = self._images.missing(AVAILABLE, present or ())
        first, then = self._images.unbuilt(TOOLS), self._images.unbuilt(EXTRA_TOOLS)
        node = [] if present is not None or self._node_image.exists() else [NODE_IMAGE]
        create_cluster = Task(
            CLUSTER, CLUSTER, create, (*node, *(f"tool {each}" for each in first))
        )
        if not (missing or first or then or node):
            return [create_cluster]
        bases: list[Base] = ["base"] if node else []
        bases += [image.base for image in missing]
        return [
            self._images.packages_task(progress),
            *self._images.tool_tasks(first, progress, nice=False),
            *self._images.base_tasks(bases, progress, ("packages",)),
            *(self._node_image_task(first, progress) for _ in node),
            create_cluster,
            *self._images.tool_tasks(then, progress),
            *self._images.image_tasks(
                missing, partial(self._load, progress), progress, cluster=(CLUSTER,)
            ),
        ]

    def later(
        self, inside: ClusterInside, present: AbstractSet[str], progress: Progress
    ) -> list[Task]:
        """Return the tasks of metrics-server, the test images, and tidying the disk."""
        test_images = self._images.missing([GOOGLE_TEST], present)
        tasks = [
            *self._images.base_tasks((image.base for image in test_images), progress),
            *self._images.image_tasks(test_images, partial(self._load, progress), progress),
        ]
        measure = Task(metrics.NAME, "Go tools", partial(self._measure, inside, progress))
        tasks.append(measure)
        if self._tools.caches_exist():
            tidy = partial(self._node.tidy, progress)
            tasks.append(Task("tidy", "tidy", tidy, (measure.name,)))
        return tasks

    def _node_image_task(self, tools: Iterable[str], progress: Progress) -> Task:
        action = partial(self._node_image.build, self._images.base_reference("base"), progress)
        needs = ("base base", *(f"tool {tool}" for tool in tools))
        return Task(NODE_IMAGE, "images", action, needs)

    def _load(self, progress: Progress, references: Sequence[str]) -> None:
        with (
            progress.step(images.described("load", references)) as step,
            self._builder.export_all(references, step) as archive,
        ):
            self._load_archive("images", archive, step)

    def _load_archive(self, name: str, archive: Path, step: Step) -> None:
        self._cluster.import_archive(archive, self._paths.log / "images" / f"{name}-kind", step)

    def _measure(self, inside: ClusterInside, progress: Progress) -> None:
        program = self._tools.build(metrics.NAME, progress)[metrics.NAME]
        image = f"{kubeadm.IMAGE_REPOSITORY}/{metrics.NAME}:{content(program)}"
        if image not in self._cluster.images():
            wanted = [images.static_program(image, program)]
            with (
                progress.step(f"load {metrics.NAME}") as step,
                images.archive_of(wanted, self._paths.cache / "exports") as archive,
            ):
                self._load_archive(metrics.NAME, archive, step)
        inside.measure(image, progress)
