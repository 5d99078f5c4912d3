"""The images: what each is built from, and a tag derived from it.

A tag is a hash of everything that goes into the image (Containerfile, build arguments, the files
it copies, the base, the program), so a stale image is never run and an existing one is never
built again.
"""

import hashlib
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

from ashchat_core.topology import Service

ROOT: Final = Path(__file__).resolve().parents[3]
"""The repository."""

TAG_CHARS: Final = 16

Base = Literal["base", "sid", "scratch"]
"""Base without a registry: our Debian 13 with Python, Debian sid, or nothing."""

_CONTEXT_FILES: Final = (".dockerignore",)
"""Files of the build context besides the sources."""

_COPY: Final = re.compile(r"^(?:COPY|ADD)\s+(.*)$", re.MULTILINE)
_WILDCARDS: Final = frozenset("*?[$")


class ContainerfileError(ValueError):
    """A Containerfile copies something that its tag cannot include."""


@dataclass(frozen=True, slots=True)
class Image:
    """One image of ours.

    Attributes:
        name: What the operator's table of images calls it.
        containerfile: Its recipe, relative to the repository.
        base: What it is built on if there is no registry.
        tool: The Go tool of its program, for images of one program.
        program: That program.
        args: Build arguments besides BASE and PROGRAM; COPY lines may contain them.
    """

    name: str
    containerfile: str
    base: Base = "base"
    tool: str | None = None
    program: str | None = None
    args: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Sources:
    """A consistent copy of the files that images are built from.

    Attributes:
        root: The repository, or a copy of these files.
    """

    root: Path

    def recipe(self, image: Image) -> Path:
        """Return the image's Containerfile."""
        return self.root / image.containerfile

    def tag(self, image: Image, *parts: str) -> str:
        """Return the tag of an image that is built from these files.

        Args:
            image: The image.
            parts: Other inputs: the base, programs.

        Raises:
            ContainerfileError: A source is a pattern or does not exist.
        """
        recipe = self.recipe(image).read_text(encoding="utf-8")
        arguments = (f"{key}={value}" for key, value in sorted(image.args.items()))
        files = [self.root / each for each in sources(image, recipe)]
        return content_tag([recipe, *arguments, *parts], files)


@contextmanager
def snapshot(images: Iterable[Image]) -> Iterator[Sources]:
    """Copy the inputs of images, for as long as the context is open.

    Edits during the builds change neither a tag nor a part of an image.

    Raises:
        ContainerfileError: A source is a pattern or does not exist.
    """
    kept = ROOT / ".ashchat"
    kept.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept, prefix="sources-") as folder:
        root = Path(folder)
        for name in _CONTEXT_FILES:
            shutil.copy2(ROOT / name, root / name)
        for image in images:
            recipe = (ROOT / image.containerfile).read_text(encoding="utf-8")
            for each in (image.containerfile, *sources(image, recipe)):
                _copy(ROOT / each, root / each)
        yield Sources(root)


def _copy(source: Path, target: Path) -> None:
    for file in _files(source):
        place = target / file.relative_to(source) if source.is_dir() else target
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            shutil.copy2(file, place)


def sources(image: Image, recipe: str) -> list[str]:
    """Return the files and folders of the repository that an image is built from."""
    return [] if image.tool else copied(recipe, image.args)


SERVICES: Final = tuple(
    Image(service.value, "services/Containerfile", args={"SERVICE": service.value})
    for service in Service
)
OPERATOR: Final = Image("operator", "operator/Containerfile")
APERTIUM: Final = Image("apertium", "images/apertium/Containerfile")
OURS: Final = (OPERATOR, *SERVICES, APERTIUM)
"""Images that are always built; the others have official images in registries."""

BACKENDS: Final = (
    # The largest first, because it takes the longest to build and load.
    Image("documentdb", "images/documentdb/Containerfile", base="sid"),
    Image("rabbitmq", "images/rabbitmq/Containerfile"),
    Image("redis", "images/redis/Containerfile"),
    Image("ferretdb", "images/binary/Containerfile", "scratch", "ferretdb", "ferretdb"),
    Image("edge", "images/binary/Containerfile", "scratch", "caddy", "caddy"),
    Image("mailpit", "images/binary/Containerfile", "scratch", "mailpit", "mailpit"),
)
GOOGLE_TEST: Final = Image("test-google", "tests/google/Containerfile")
"""A server of Google's Translation API, for the tests."""


def copied(containerfile: str, args: Mapping[str, str] = MappingProxyType({})) -> list[str]:
    """Return the sources that a Containerfile copies from its context, in order.

    Args:
        containerfile: Its text.
        args: The values of build arguments, written `${NAME}` in the text.

    Raises:
        ContainerfileError: A source is a pattern or contains an unknown argument, or a COPY
            line continues on the next line.
    """
    for name, value in args.items():
        containerfile = containerfile.replace(f"${{{name}}}", value)
    sources: list[str] = []
    for line in _COPY.findall(containerfile):
        words = [word for word in line.split() if not word.startswith("--")]
        if "--from=" in line:
            continue
        if line.endswith("\\") or _WILDCARDS & set("".join(words[:-1])):
            raise ContainerfileError(f"name each file or folder in a separate line: COPY {line}")
        sources += words[:-1]
    return sources


def content_tag(parts: Iterable[str], files: Iterable[Path]) -> str:
    """Return a tag for texts and files, including the content of folders.

    Raises:
        ContainerfileError: A file does not exist.
    """
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{len(part)}:{part}".encode())
    for path in files:
        for file in _files(path):
            name = str(file.relative_to(path.parent))
            body = file.read_bytes()
            executable = bool(file.stat().st_mode & 0o100)
            digest.update(f"{len(name)}:{name}:{executable}:{len(body)}:".encode())
            digest.update(body)
    return digest.hexdigest()[:TAG_CHARS]


def _files(path: Path) -> list[Path]:
    """Return a path's files that the build uses; .dockerignore excludes the same ones."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise ContainerfileError(f"{path} must be copied, but does not exist")
    return sorted(
        file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts
    )


ALL: Final = (*OURS, *BACKENDS, GOOGLE_TEST)
"""Every image that has a Containerfile."""
