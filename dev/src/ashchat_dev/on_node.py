"""AshChat on the node from packages: every image built from Debian, Go modules and PyPI."""

import os
import threading
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Final

from ashchat_dev.graph import Task
from ashchat_dev.images import BACKENDS, GOOGLE_TEST, OURS, Base, Image, Sources
from ashchat_dev.target import Engine, Programs
from ashchat_node import packages, rootfs
from ashchat_node.errors import NodeError
from ashchat_node.node import Node
from ashchat_node.paths import Paths, default_paths
from ashchat_node.progress import Progress

REGISTRY: Final = "localhost"
EXTRA_TOOLS: Final = ("helm", "caddy", "mailpit", "ferretdb")
"""Go tools that AshChat needs in addition to the node's, slowest first."""

SLOTS: Final = {"images": 2, "Go tools": 1}
"""Concurrent images: one waits for the network or the disk while the other computes."""

_NICE: Final = 10

_BASES: Final[dict[Base, tuple[str, tuple[str, ...]]]] = {
    "base": (rootfs.BASE_SUITE, rootfs.BASE_PACKAGES),
    "sid": ("sid", ("ca-certificates",)),
}


class OnNode:
    """The machine's own one-node Kubernetes."""

    engine: Engine = "FerretDB"  # MongoDB itself is in no package

    def __init__(self, sources: Sources, paths: Paths | None = None) -> None:
        self._sources = sources
        self._paths = paths or default_paths()
        self._node = Node(self._paths)
        self._tools = self._node.tools
        self._builder = self._node.builder

    def references(self) -> dict[str, str]:
        """Return image name → reference, for all images of an AshChat."""
        return {image.name: self.reference(image) for image in (*OURS, *BACKENDS)}

    def reference(self, image: Image) -> str:
        """Return an image's name and tag, whether it is built or not."""
        parts = [self._base_reference(image.base)]
        if image.tool is not None:
            parts.append(self._tools.folder(image.tool).name)
        return f"{REGISTRY}/ashchat-{image.name}:{self._sources.tag(image, *parts)}"

    def tasks(self, progress: Progress) -> list[Task]:
        """Return the tasks of the node, the Go tools, and the missing images."""
        cluster = Task("cluster", "cluster", partial(self._node.up, progress))
        missing = self._missing((*OURS, *BACKENDS))
        unbuilt = [tool for tool in EXTRA_TOOLS if self._tools.built(tool) is None]
        if not missing and not unbuilt:
            return [cluster]
        return [
            # buildah and debootstrap, which images need before the node is up
            Task("packages", "packages", partial(self._packages, progress)),
            cluster,
            *(
                Task(f"tool {tool}", "Go tools", partial(self._tool, tool, progress))
                for tool in unbuilt
            ),
            *self._image_tasks(missing, progress, after=("packages",), cluster=("cluster",)),
        ]

    def later(self, progress: Progress) -> list[Task]:
        """Return the tasks of metrics-server, the test images, and tidying the disk."""
        tasks = self._image_tasks(self._missing([GOOGLE_TEST]), progress)
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
        return "http://127.0.0.1:30080", "http://127.0.0.1:30025"

    def environment(self) -> dict[str, str]:
        """Return the variables for the audit log and the test images."""
        return {
            "AUDIT_LOG_DIR": str(self._paths.audit_log.parent),
            "ASHCHAT_TEST_GOOGLE_IMAGE": self.reference(GOOGLE_TEST),
        }

    def down(self, progress: Progress) -> None:
        """Remove the node; tools and images stay cached."""
        self._node.down(progress)

    def clean(self, progress: Progress) -> None:
        """Remove the node and its caches."""
        self._node.clean(progress)

    # The graph's tasks.

    def _packages(self, progress: Progress) -> None:
        packages.install(packages.NODE_PACKAGES, progress, self._paths)

    def _tool(self, tool: str, progress: Progress) -> None:
        # The node's programs come first: images are loaded while these are compiled.
        # Linux knows niceness by thread, and children inherit it (setpriority(2)).
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        self._tools.build(tool, progress)

    def _image_tasks(
        self,
        images: Iterable[Image],
        progress: Progress,
        *,
        after: tuple[str, ...] = (),
        cluster: tuple[str, ...] = (),
    ) -> list[Task]:
        """Return the tasks that build images on their bases and import them into the node."""
        tasks: list[Task] = []
        for image in images:
            base, built = f"base {image.base}", f"image {image.name}"
            needs: tuple[str, ...] = (base,)
            if base not in {task.name for task in tasks}:
                tasks.append(Task(base, "images", partial(self._base, image.base, progress), after))
            if image.tool is not None and self._tools.built(image.tool) is None:
                needs = (base, f"tool {image.tool}")
            tasks.append(Task(built, "images", partial(self._build, image, progress), needs))
            load = partial(self._load, image, progress)
            tasks.append(Task(f"load {image.name}", "load", load, (built, *cluster)))
        return tasks

    def _base(self, base: Base, progress: Progress) -> None:
        if base == "scratch" or self._builder.exists(self._base_reference(base)):
            return
        archive = rootfs.debootstrap(*_BASES[base], progress, paths=self._paths)
        self._builder.base(self._base_reference(base), archive, progress)

    def _build(self, image: Image, progress: Progress) -> None:
        context = self._sources.root
        arguments = {"BASE": self._base_reference(image.base), **image.args}
        if image.tool is not None and image.program is not None:
            context = self._tools.build(image.tool, progress)[image.program].parent
            arguments["PROGRAM"] = image.program
        self._builder.build(
            self.reference(image), context, self._sources.recipe(image), arguments, progress
        )

    def _load(self, image: Image, progress: Progress) -> None:
        self._node.import_image(self.reference(image), self._builder, progress)

    # Queries.

    def _missing(self, images: Iterable[Image]) -> list[Image]:
        """Return the images that the node lacks; all of them if there is no node."""
        try:
            present = self._node.images()
        except NodeError:
            present = frozenset()
        return [image for image in images if self.reference(image) not in present]

    def _base_archive(self, base: Base) -> Path | None:
        if base == "scratch":
            return None
        return rootfs.archive_path(*_BASES[base], self._paths.cache)

    def _base_reference(self, base: Base) -> str:
        archive = self._base_archive(base)
        return f"{REGISTRY}/ashchat-{base}:{archive.stem}" if archive else base
