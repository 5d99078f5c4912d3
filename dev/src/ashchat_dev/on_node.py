"""AshChat on the node from packages: every image built from Debian, Go modules and PyPI."""

from collections.abc import Iterable, Sequence
from functools import partial

from ashchat_dev.graph import Task
from ashchat_dev.images import GOOGLE_TEST, Image, Sources
from ashchat_dev.packaged_images import AVAILABLE, PackagedImages
from ashchat_dev.target import EDGE_PORT, MAILBOX_PORT, Engine, Programs
from ashchat_node.errors import NodeError
from ashchat_node.node import Node
from ashchat_node.paths import Paths, default_paths
from ashchat_node.progress import Progress


class OnNode:
    """The machine's own one-node Kubernetes."""

    engine: Engine = PackagedImages.engine

    nodes: int = 1

    def __init__(self, sources: Sources, paths: Paths | None = None) -> None:
        self._paths = paths or default_paths()
        self._node = Node(self._paths)
        self._tools = self._node.tools
        self._images = PackagedImages(sources, self._paths, self._tools, self._node.builder)

    def described(self) -> str:
        """Return the kind of cluster, in one line."""
        return "node: Kubernetes and all images from packages, FerretDB"

    def references(self) -> dict[str, str]:
        """Return image name → reference, for all images of an AshChat."""
        return self._images.references()

    def tasks(self, progress: Progress) -> list[Task]:
        """Return the tasks of the node, the Go tools, and the missing images."""
        cluster = Task("cluster", "cluster", partial(self._node.up, progress))
        missing, unbuilt = self._missing(AVAILABLE), self._images.unbuilt()
        if not missing and not unbuilt:
            return [cluster]
        return [
            self._images.packages_task(progress),
            cluster,
            *self._images.tool_tasks(unbuilt, progress),
            *self._images.base_tasks((image.base for image in missing), progress, ("packages",)),
            *self._images.image_tasks(
                missing, partial(self._load, progress), progress, cluster=("cluster",)
            ),
        ]

    def later(self, progress: Progress) -> list[Task]:
        """Return the tasks of metrics-server, the test images, and tidying the disk."""
        missing = self._missing([GOOGLE_TEST])
        tasks = [
            *self._images.base_tasks((image.base for image in missing), progress),
            *self._images.image_tasks(missing, partial(self._load, progress), progress),
        ]
        if not self._node.measures():
            measure = partial(self._node.metrics, progress)
            tasks.append(Task("metrics-server", "Go tools", measure))
        if self._tools.caches_exist():
            tidy = partial(self._node.tidy, progress)
            needs = tuple(task.name for task in tasks if task.name == "metrics-server")
            tasks.append(Task("tidy", "tidy", tidy, needs))
        return tasks

    def programs(self, progress: Progress) -> Programs:
        """Return the node's kubectl and our helm."""
        kubectl = self._tools.build("kubernetes", progress)["kubectl"]
        helm = self._tools.build("helm", progress)["helm"]
        return Programs(self._paths.kubeconfig, kubectl, helm)

    def urls(self, programs: Programs) -> tuple[str, str]:  # noqa: ARG002 - the Protocol's name
        """Return the node ports; kube-proxy opens them on loopback."""
        return f"http://127.0.0.1:{EDGE_PORT}", f"http://127.0.0.1:{MAILBOX_PORT}"

    def environment(self) -> dict[str, str]:
        """Return the variables for the audit log and the test images."""
        return {
            "AUDIT_LOG_DIR": str(self._paths.audit_log.parent),
            "ASHCHAT_TEST_GOOGLE_IMAGE": self._images.reference(GOOGLE_TEST),
        }

    def down(self, progress: Progress) -> None:
        """Remove the node; tools and images stay cached."""
        self._node.down(progress)

    def clean(self, progress: Progress) -> None:
        """Remove the node and its caches."""
        self._node.clean(progress)

    def _load(self, progress: Progress, references: Sequence[str]) -> None:
        self._node.import_images(references, self._node.builder, progress)

    def _missing(self, images: Iterable[Image]) -> list[Image]:
        """Return the images that the node lacks; all of them if there is no node."""
        try:
            present = self._node.images()
        except NodeError:
            present = frozenset()
        return self._images.missing(images, present)
