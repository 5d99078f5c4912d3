"""Images in a registry that a cluster pulls from: built by Docker, or from packages."""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final, Protocol

from ashchat_dev import docker
from ashchat_dev.graph import Task
from ashchat_dev.images import GOOGLE_TEST, OURS, Image, Sources
from ashchat_dev.packaged_images import AVAILABLE, PackagedImages
from ashchat_dev.programs import LOGS
from ashchat_dev.target import Engine
from ashchat_node import images
from ashchat_node.node import Node
from ashchat_node.paths import Paths
from ashchat_node.progress import Progress

_LOOPBACK: Final = ("localhost", "127.", "[::1]")


class RegistryImages(Protocol):
    """The images of an AshChat, in a registry."""

    @property
    def engine(self) -> Engine:
        """The database engine that there are images for."""

    def described(self) -> str:
        """Return where the images come from, as part of a sentence."""

    def references(self) -> dict[str, str]:
        """Return image name → reference of all that is built here."""

    def reference(self, image: Image) -> str:
        """Return an image's name and tag, whether it is built or not."""

    def tasks(self, progress: Progress) -> list[Task]:
        """Return the tasks that build and push the images of an AshChat."""

    def later(self, progress: Progress) -> list[Task]:
        """Return the tasks of the images that only tests need."""


class DockerImages:
    """Built by Docker on official bases; the backends' images are the official ones."""

    engine: Engine = "MongoDB"

    def __init__(self, sources: Sources, registry: str) -> None:
        self._sources = sources
        self._registry = registry

    def described(self) -> str:
        """Return where the images come from."""
        return f"images built by Docker and pushed to {self._registry}, MongoDB"

    def references(self) -> dict[str, str]:
        """Return what is built here; the chart names the official images of the rest."""
        return {image.name: self.reference(image) for image in OURS}

    def reference(self, image: Image) -> str:
        """Return an image's name and tag, whether it is built or not."""
        return f"{self._registry}/ashchat-{image.name}:{self._sources.tag(image, 'docker')}"

    def tasks(self, progress: Progress) -> list[Task]:
        """Return a task for each image."""
        return self._tasks(OURS, progress)

    def later(self, progress: Progress) -> list[Task]:
        """Return the task of Google's server for tests."""
        return self._tasks((GOOGLE_TEST,), progress)

    def _tasks(self, wanted: Iterable[Image], progress: Progress) -> list[Task]:
        return [
            Task(f"image {image.name}", "images", partial(self._deliver, image, progress))
            for image in wanted
        ]

    def _deliver(self, image: Image, progress: Progress) -> None:
        reference = self.reference(image)
        if not docker.in_registry(reference):
            docker.build(reference, image, self._sources, progress, LOGS)
            docker.push(reference, image, progress, LOGS)


class PushedPackages:
    """All images from packages, for machines that reach no registry with official ones."""

    engine: Engine = PackagedImages.engine

    def __init__(self, sources: Sources, registry: str, paths: Paths) -> None:
        node = Node(paths)  # shares its caches
        self._registry = registry
        self._images = PackagedImages(sources, paths, node.tools, node.builder)
        self._builder = node.builder

    def described(self) -> str:
        """Return where the images come from."""
        return f"images from packages pushed to {self._registry}, FerretDB"

    def references(self) -> dict[str, str]:
        """Return image name → reference, for all images of an AshChat."""
        return {image.name: self.reference(image) for image in AVAILABLE}

    def reference(self, image: Image) -> str:
        """Return an image's name and tag, whether it is built or not."""
        return self._in_registry(self._images.reference(image))

    def tasks(self, progress: Progress) -> list[Task]:
        """Return the tasks of the packages, the Go tools, the bases and the images."""
        return [
            self._images.packages_task(progress),
            *self._images.tool_tasks(self._images.unbuilt(), progress),
            *self._image_tasks(AVAILABLE, progress, ("packages",)),
        ]

    def later(self, progress: Progress) -> list[Task]:
        """Return the tasks of Google's server for tests."""
        return self._image_tasks((GOOGLE_TEST,), progress)

    def _image_tasks(
        self, wanted: Sequence[Image], progress: Progress, after: tuple[str, ...] = ()
    ) -> list[Task]:
        push = partial(self._push, progress)
        return [
            *self._images.base_tasks((image.base for image in wanted), progress, after),
            *self._images.image_tasks(wanted, push, progress),
        ]

    def _push(self, progress: Progress, references: Sequence[str]) -> None:
        with progress.step(images.described("push", references)) as step:
            for each in references:
                target = self._in_registry(each)
                self._builder.push(each, target, step, encrypted=not on_loopback(target))

    def _in_registry(self, reference: str) -> str:
        return f"{self._registry}/{reference.rsplit('/', 1)[-1]}"


def on_loopback(reference: str) -> bool:
    """Return whether a registry is on this machine, which needs no TLS (as for Docker)."""
    return reference.startswith(_LOOPBACK)
