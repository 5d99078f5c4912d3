"""Creates images of static programs as tar files, without a registry or a builder.

The format is that of `docker save` (a manifest.json, one configuration per image, layers), which
containerd imports. One archive contains many images and each layer once.
"""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

_CHUNK_BYTES: Final = 1024 * 1024
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Image:
    """An image of a few files, optionally on a root file system.

    Attributes:
        name: Name and tag.
        files: The host's files by their path in the image (without a leading slash).
        entrypoint: The program and first arguments.
        rootfs: A tar of the root file system.
        env: Environment variables besides PATH.
    """

    name: str
    files: Mapping[str, Path]
    entrypoint: tuple[str, ...] = ()
    rootfs: Path | None = None
    env: Mapping[str, str] = field(default_factory=dict)


def described(what: str, names: Sequence[str]) -> str:
    """Return what is done with images, for display."""
    return f"{what} {short_name(names[0]) if len(names) == 1 else f'{len(names)} images'}"


def short_name(name_and_tag: str) -> str:
    """Return the name without registry and tag, for display."""
    return name_and_tag.rsplit("/", 1)[-1].split(":", 1)[0]


def static_program(name: str, program: Path, *, at: str | None = None) -> Image:
    """Return the image of one static program, by default in /usr/local/bin."""
    place = at or f"usr/local/bin/{program.name}"
    return Image(name=name, files={place: program}, entrypoint=(f"/{place}",))


def configuration(image: Image, layer_digests: Sequence[str], machine: str) -> bytes:
    """Return an image's configuration (Docker image specification 1.2).

    Args:
        image: The image.
        layer_digests: SHA-256 of each uncompressed layer, in hexadecimal.
        machine: The machine's hardware name, as uname gives it.
    """
    paths = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    env = {"PATH": paths, **image.env}
    config = {
        "architecture": _ARCHITECTURES.get(machine, machine),
        "os": "linux",
        "config": {
            "Env": [f"{key}={value}" for key, value in env.items()],
            "Entrypoint": list(image.entrypoint),
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{each}" for each in layer_digests]},
    }
    return json.dumps(config, sort_keys=True).encode()


def write_archive(archive: Path, images: Sequence[Image]) -> None:
    """Write a docker-archive of images; shared layers are written once."""
    written: set[str] = set()
    manifest: list[dict[str, object]] = []
    with tarfile.open(archive, "w") as tar:
        for image in images:
            digests: list[str] = []
            for layer in _layers(image, archive.parent):
                with layer as file:
                    digest = _sha256(file)
                    digests.append(digest)
                    if digest not in written:
                        written.add(digest)
                        tar.add(file, arcname=f"{digest}.tar", filter=_plain)
            config = configuration(image, digests, os.uname().machine)
            name = f"{hashlib.sha256(config).hexdigest()}.json"
            if name not in written:
                written.add(name)
                _add_bytes(tar, name, config)
            manifest.append(
                {
                    "Config": name,
                    "RepoTags": [image.name],
                    "Layers": [f"{digest}.tar" for digest in digests],
                }
            )
        _add_bytes(tar, "manifest.json", json.dumps(manifest).encode())


def merge(archive: Path, parts: Iterable[Path]) -> None:
    """Write the images of docker-archives into one; shared layers are written once.

    A part is read completely before the next one is requested, so it may then be deleted.
    """
    written: set[str] = set()
    manifest: list[dict[str, Any]] = []
    with tarfile.open(archive, "w") as tar:
        for part in parts:
            with tarfile.open(part) as source:
                listed = json.load(_member(source, "manifest.json"))
                manifest += listed
                for name in dict.fromkeys(_files(listed)):
                    if name not in written:
                        written.add(name)
                        tar.addfile(source.getmember(name), _member(source, name))
        _add_bytes(tar, "manifest.json", json.dumps(manifest).encode())


def _files(manifest: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for image in manifest:
        yield image["Config"]
        yield from image["Layers"]


def _member(tar: tarfile.TarFile, name: str) -> IO[bytes]:
    found = tar.extractfile(name)
    if found is None:
        raise ValueError(f"{name} is not a file")
    return found


def _layers(image: Image, folder: Path) -> Iterator["_Layer"]:
    if image.rootfs is not None:
        yield _Layer(image.rootfs, temporary=False)
    layer = folder / f"layer-{os.getpid()}.tar"
    with tarfile.open(layer, "w") as tar:
        _add_folder(tar, "tmp", 0o1777)
        for place in _parents(image.files):
            _add_folder(tar, place, 0o755)
        for place, file in sorted(image.files.items()):
            tar.add(file.resolve(), arcname=place, filter=_plain)
    yield _Layer(layer, temporary=True)


@dataclass(frozen=True)
class _Layer:
    file: Path
    temporary: bool

    def __enter__(self) -> Path:
        return self.file

    def __exit__(self, *_: object) -> None:
        if self.temporary:
            self.file.unlink()


def _parents(files: Mapping[str, Path]) -> list[str]:
    """Return the parent folders of paths, outermost first."""
    found = {str(parent) for place in files for parent in Path(place).parents}
    return sorted(found - {"."})


def _add_folder(tar: tarfile.TarFile, name: str, mode: int) -> None:
    info = tarfile.TarInfo(name)
    info.type = tarfile.DIRTYPE
    info.mode = mode
    tar.addfile(info)


def _add_bytes(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def _plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """Remove what differs between builds: owner and time."""
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mtime = 0
    return info


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as source:
        while chunk := source.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def archive_of(images: Sequence[Image], folder: Path) -> Iterator[Path]:
    """Write a docker-archive that exists while the context is open."""
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / f"node-{os.getpid()}.tar"
    try:
        write_archive(archive, images)
        yield archive
    finally:
        archive.unlink(missing_ok=True)
