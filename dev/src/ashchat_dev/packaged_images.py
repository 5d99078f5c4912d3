"""Images from packages, without a registry: Debian bases, Go modules, and our Containerfiles.

Builds every image of an AshChat with buildah. The cluster that runs them provides a function that
loads one.
"""

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from ashchat_dev.graph import Batched, Task
from ashchat_dev.images import BACKENDS, OURS, Base, Image, Sources
from ashchat_dev.target import Engine
from ashchat_node import images as node_images
from ashchat_node import packages, rootfs
from ashchat_node.buildah import Builder
from ashchat_node.gotools import GoTools
from ashchat_node.paths import Paths
from ashchat_node.progress import Progress

REGISTRY: Final = "localhost"
AVAILABLE: Final = (*OURS, *BACKENDS)
"""All images of an AshChat."""

EXTRA_TOOLS: Final = ("helm", "caddy", "mailpit", "ferretdb")
"""Go tools that AshChat needs in addition to a node's, slowest first."""

SLOTS: Final = {"images": 2, "Go tools": 1}
"""Concurrent images: one waits for the network or the disk while the other computes."""

_NICE: Final = 10

_BASES: Final[dict[Base, tuple[str, tuple[str, ...]]]] = {
    "base": (rootfs.BASE_SUITE, rootfs.BASE_PACKAGES),
    "sid": ("sid", ("ca-certificates",)),
}

Load = Callable[[Sequence[str]], object]
"""Loads the images with these references into a cluster, unless the cluster has them."""


class PackagedImages:
    """The images of an AshChat, and the tasks that build and load them."""

    engine: Engine = "FerretDB"  # MongoDB itself is in no package

    def __init__(self, sources: Sources, paths: Paths, tools: GoTools, builder: Builder) -> None:
        self._sources = sources
        self._paths = paths
        self._tools = tools
        self._builder = builder

    def references(self) -> dict[str, str]:
        """Return image name → reference, for all images of an AshChat."""
        return {image.name: self.reference(image) for image in AVAILABLE}

    def reference(self, image: Image) -> str:
        """Return an image's name and tag, whether it is built or not."""
        parts = [self.base_reference(image.base)]
        if image.tool is not None:
            parts.append(self._tools.folder(image.tool).name)
        return f"{REGISTRY}/ashchat-{image.name}:{self._sources.tag(image, *parts)}"

    def base_reference(self, base: Base) -> str:
        """Return the name and tag of a base."""
        archive = self._base_archive(base)
        return f"{REGISTRY}/ashchat-{base}:{archive.stem}" if archive else base

    def missing(self, images: Iterable[Image], present: Iterable[str]) -> list[Image]:
        """Return the images that are not among the references of present ones."""
        loaded = set(present)
        return [image for image in images if self.reference(image) not in loaded]

    def unbuilt(self, tools: Iterable[str] = EXTRA_TOOLS) -> list[str]:
        """Return the Go tools that are not built."""
        return [tool for tool in tools if self._tools.built(tool) is None]

    def packages_task(self, progress: Progress) -> Task:
        """Return the task of the Debian packages: buildah and debootstrap come first."""
        install = partial(packages.install, packages.NODE_PACKAGES, progress, self._paths)
        return Task("packages", "packages", install)

    def tool_tasks(
        self, tools: Iterable[str], progress: Progress, *, nice: bool = True
    ) -> list[Task]:
        """Return the tasks that build Go tools.

        Args:
            tools: Their names, in this order.
            progress: Receives the steps.
            nice: Whether to leave the processor to what is built at the same time.
        """
        build = self._nicely if nice else self._tools.build
        return [Task(f"tool {tool}", "Go tools", partial(build, tool, progress)) for tool in tools]

    def base_tasks(
        self, bases: Iterable[Base], progress: Progress, after: tuple[str, ...] = ()
    ) -> list[Task]:
        """Return the tasks that make bases, each once, in this order."""
        return [
            Task(f"base {base}", "images", partial(self.make_base, base, progress), after)
            for base in dict.fromkeys(bases)
        ]

    def image_tasks(
        self,
        images: Iterable[Image],
        load: Load,
        progress: Progress,
        *,
        cluster: tuple[str, ...] = (),
    ) -> list[Task]:
        """Return the tasks that build images and load them into a cluster; `base_tasks` come first.

        Args:
            images: The images to build.
            load: Loads several of them: all that are built when it starts.
            progress: Receives the steps.
            cluster: Tasks that loading needs; images are exported while these run.
        """
        tasks: list[Task] = []
        for image in images:
            base, built = f"base {image.base}", f"image {image.name}"
            needs: tuple[str, ...] = (base,)
            if image.tool is not None and self._tools.built(image.tool) is None:
                needs = (base, f"tool {image.tool}")
            tasks.append(Task(built, "images", partial(self._build, image, progress), needs))
            if cluster:
                export = partial(self._export, self.reference(image), progress)
                tasks.append(Task(f"export {image.name}", "images", export, (built,)))
                built = f"export {image.name}"
            loads = Batched(load, self.reference(image))
            tasks.append(Task(f"load {image.name}", "load", loads, (built, *cluster)))
        return tasks

    def _nicely(self, tool: str, progress: Progress) -> None:
        # The node's programs come first: images are loaded while these are compiled.
        # Linux knows niceness by thread, and children inherit it (setpriority(2)).
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        self._tools.build(tool, progress)

    def make_base(self, base: Base, progress: Progress) -> None:
        """Make a base unless it exists.

        Raises:
            NodeError: Debian's mirror does not respond, or the build failed.
        """
        if base == "scratch" or self._builder.exists(self.base_reference(base)):
            return
        archive = rootfs.debootstrap(*_BASES[base], progress, paths=self._paths)
        self._builder.base(self.base_reference(base), archive, progress)

    def _build(self, image: Image, progress: Progress) -> None:
        context = self._sources.root
        arguments = {"BASE": self.base_reference(image.base), **image.args}
        if image.tool is not None and image.program is not None:
            context = self._tools.build(image.tool, progress)[image.program].parent
            arguments["PROGRAM"] = image.program
        self._builder.build(
            self.reference(image), context, self._sources.recipe(image), arguments, progress
        )

    def _export(self, reference: str, progress: Progress) -> None:
        with progress.step(node_images.described("export", [reference])) as step:
            self._builder.export_ahead(reference, step)

    def _base_archive(self, base: Base) -> Path | None:
        if base == "scratch":
            return None
        return rootfs.archive_path(*_BASES[base], self._paths.cache)
