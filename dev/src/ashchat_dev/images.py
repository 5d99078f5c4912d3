"""The images: what each is made from, and a tag that says so.

A tag is a hash of everything that went in (Containerfile, the files it copies, the base,
the program), so a stale image is never run and an existing one never built again.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ashchat_node import rootfs
from ashchat_node.buildah import Builder
from ashchat_node.gotools import GoTools
from ashchat_node.node import Node
from ashchat_node.progress import Progress

ROOT: Final = Path(__file__).resolve().parents[3]
"""The repository."""

REGISTRY: Final = "localhost"
SID_PACKAGES: Final = ("ca-certificates",)
TAG_CHARS: Final = 16
WORKERS: Final = 2

_COPY = re.compile(r"^(?:COPY|ADD)\s+(.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Image:
    """One image of ours: its Containerfile, and what it starts from."""

    name: str
    containerfile: str
    base: str = "base"
    """`base` (Debian 13), `sid`, or `scratch` (one program, by its Go module)."""

    tool: str | None = None
    program: str | None = None

    @property
    def repository(self) -> str:
        """The name without a tag."""
        return f"{REGISTRY}/ashchat-{self.name}"


SERVICES: Final = tuple(
    Image(name, f"services/{name}/Containerfile")
    for name in ("auth", "email", "chat", "translate", "static")
)
OPERATOR: Final = Image("operator", "operator/Containerfile")
BACKENDS: Final = (
    Image("rabbitmq", "images/rabbitmq/Containerfile"),
    Image("redis", "images/redis/Containerfile"),
    Image("apertium", "images/apertium/Containerfile"),
    Image("documentdb", "images/documentdb/Containerfile", base="sid"),
    Image("ferretdb", "images/binary/Containerfile", "scratch", "ferretdb", "ferretdb"),
    Image("edge", "images/binary/Containerfile", "scratch", "caddy", "caddy"),
    Image("mailpit", "images/binary/Containerfile", "scratch", "mailpit", "mailpit"),
)
PLATFORM: Final = (OPERATOR, *BACKENDS, *SERVICES)
"""All that an AshChat needs to be Ready."""


def copied(containerfile: str) -> list[str]:
    """Return the sources that a Containerfile copies from its context, in order."""
    sources: list[str] = []
    for line in _COPY.findall(containerfile):
        words = [word for word in line.split() if not word.startswith("--")]
        sources += words[:-1]
    return sources


def content_tag(parts: Iterable[str], files: Iterable[Path]) -> str:
    """Return a tag for words and files; folders count with all that is in them."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{len(part)}:{part}".encode())
    for path in files:
        for file in _files(path):
            name = str(file.relative_to(path.parent))
            body = file.read_bytes()
            executable = file.stat().st_mode & 0o100
            digest.update(f"{len(name)}:{name}:{executable}:{len(body)}:".encode())
            digest.update(body)
    return digest.hexdigest()[:TAG_CHARS]


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return sorted(
        file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts
    )


class NodeImages:
    """Builds images without a registry and gives them to the node from packages."""

    def __init__(self, node: Node, cache: Path) -> None:
        self._node = node
        self._tools: GoTools = node.tools
        self._builder: Builder = node.builder
        self._cache = cache

    def reference(self, image: Image) -> str:
        """Return an image's name and tag, whether it is built or not."""
        containerfile = (ROOT / image.containerfile).read_text()
        if image.tool is not None:
            parts = [containerfile, self._base_name(image), self._tools.folder(image.tool).name]
            return f"{image.repository}:{content_tag(parts, [])}"
        sources = [ROOT / source for source in copied(containerfile)]
        return f"{image.repository}:{content_tag([containerfile, self._base_name(image)], sources)}"

    def build(self, images: Iterable[Image], progress: Progress) -> dict[str, str]:
        """Build what is missing and load it into the node; return name → reference.

        Raises:
            NodeError: A build failed; the error has the log's last lines.
        """
        images = tuple(images)
        references = {image.name: self.reference(image) for image in images}
        present = self._node.images()
        missing = [image for image in images if references[image.name] not in present]
        if not missing:
            return references
        # Two at a time: one waits for the network or the disk while the other computes.
        with ThreadPoolExecutor(WORKERS) as pool:
            bases = self._bases({image.base for image in missing}, pool, progress)

            def make(image: Image) -> None:
                self._make(image, references[image.name], bases, progress)

            list(pool.map(make, missing))
        return references

    def _make(
        self, image: Image, reference: str, bases: Mapping[str, str], progress: Progress
    ) -> None:
        context = ROOT
        arguments = {"BASE": bases[image.base]}
        if image.tool is not None and image.program is not None:
            context = self._tools.build(image.tool, progress)[image.program].parent
            arguments["PROGRAM"] = image.program
        self._builder.build(reference, context, ROOT / image.containerfile, arguments, progress)
        self._node.import_image(reference, self._builder, progress)

    def _bases(
        self, names: set[str], pool: ThreadPoolExecutor, progress: Progress
    ) -> dict[str, str]:
        makers: dict[str, Callable[[], str]] = {
            "base": lambda: self._base("base", rootfs.BASE_SUITE, rootfs.BASE_PACKAGES, progress),
            "sid": lambda: self._base("sid", "sid", SID_PACKAGES, progress),
            "scratch": lambda: "scratch",
        }
        futures = {name: pool.submit(makers[name]) for name in sorted(names)}
        return {name: future.result() for name, future in futures.items()}

    def _base(self, name: str, suite: str, packages: tuple[str, ...], progress: Progress) -> str:
        reference = f"{REGISTRY}/ashchat-{name}:{self._archive(suite, packages).stem}"
        if self._builder.exists(reference):
            return reference
        return self._builder.base(
            reference, rootfs.debootstrap(suite, packages, progress), progress
        )

    def _base_name(self, image: Image) -> str:
        match image.base:
            case "base":
                return self._archive(rootfs.BASE_SUITE, rootfs.BASE_PACKAGES).name
            case "sid":
                return self._archive("sid", SID_PACKAGES).name
            case other:
                return other

    def _archive(self, suite: str, packages: tuple[str, ...]) -> Path:
        return rootfs.archive_path(suite, packages, self._cache)
