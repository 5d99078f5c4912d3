"""Builds images from Containerfiles with buildah, without a daemon or a registry.

buildah(1) uses its own storage below the cache. Its chroot isolation needs no container runtime,
and build processes use the host's network.
"""

import fcntl
import json
import os
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ashchat_node import images, mounts
from ashchat_node.commands import capture, run_logged, succeeds
from ashchat_node.progress import Progress, Step
from ashchat_node.rootfs import IMAGE_ENV

_ENV: Final = {"STORAGE_DRIVER": "overlay", "BUILDAH_ISOLATION": "chroot"}

_CONTAINERS_CONF: Final = """\
# containers.conf(5): buildah creates a folder for networks, by default in /etc/cni.
[network]
network_config_dir = "{}"
"""


class Builder:
    """Builds images into a dedicated storage.

    Builds may run concurrently in several threads or processes; buildah locks its storage.
    """

    def __init__(
        self,
        cache: Path,
        *,
        log: Path = Path("/var/log/ashchat-node"),
        run: Path = Path("/run/ashchat-node"),
    ) -> None:
        """Use the storage below `cache`, log to `log`/images, and lock below `run`."""
        self._storage = cache / "buildah"
        self.exports = cache / "exports"
        self._run = run / "buildah"
        self._log = log / "images"
        self._conf = cache / "containers.conf"
        self._env = {**_ENV, "CONTAINERS_CONF": str(self._conf)}

    def exists(self, name_and_tag: str) -> bool:
        """Return whether the storage holds an image of this name and tag."""
        return succeeds([*self._buildah("inspect"), "--type", "image", name_and_tag], env=self._env)

    def digest(self, name_and_tag: str) -> str:
        """Return the image's id, a hash of its configuration and so of its content.

        Raises:
            NodeError: There is no such image.
        """
        text = capture(
            f"inspect {name_and_tag}",
            [*self._buildah("inspect"), "--type", "image", name_and_tag],
            env=self._env,
        )
        return str(json.loads(text)["FromImageID"])

    def build(
        self,
        name_and_tag: str,
        context: Path,
        containerfile: Path,
        build_args: Mapping[str, str],
        progress: Progress,
    ) -> str:
        """Build a Containerfile unless an image with its tag exists.

        A tag is a hash of the image's inputs, so an existing image is never built again.
        Layers are cached across builds.

        Args:
            name_and_tag: The image's name, for example localhost/ashchat-auth:1a2b3c.
            context: The folder that COPY and ADD read from.
            containerfile: The Containerfile (buildah 1.28 does not support heredocs).
            build_args: The values of its ARGs.
            progress: Receives the steps.

        Returns:
            The image's name.

        Raises:
            NodeError: The build failed; the error ends with the build's last lines.
        """
        if self.exists(name_and_tag):
            return name_and_tag
        with progress.step(f"image {images.short_name(name_and_tag)}") as step:
            self._build(name_and_tag, context, containerfile, build_args, step)
        return name_and_tag

    def base(
        self,
        name_and_tag: str,
        rootfs: Path,
        progress: Progress,
        env: Mapping[str, str] = IMAGE_ENV,
    ) -> str:
        """Turn a root file system (a tar) into an image of one layer.

        Args:
            name_and_tag: The image's name.
            rootfs: The tar, for example of `rootfs.debootstrap`.
            progress: Receives the steps.
            env: The image's environment; the host's certificates by default.

        Returns:
            The image's name.

        Raises:
            NodeError: The build failed.
        """
        if self.exists(name_and_tag):
            return name_and_tag
        with (
            progress.step(f"image {images.short_name(name_and_tag)}") as step,
            self._scratch_context(rootfs) as context,
        ):
            lines = ["FROM scratch", "ADD rootfs.tar /"]
            lines += [f'ENV {key}="{value}"' for key, value in sorted(env.items())]
            lines.append('CMD ["/bin/sh"]')
            containerfile = context / "Containerfile"
            containerfile.write_text("\n".join(lines) + "\n")
            self._build(name_and_tag, context, containerfile, {}, step)
        return name_and_tag

    @contextmanager
    def export_all(self, names: Sequence[str], step: Step | None = None) -> Iterator[Path]:
        """Write images as one docker-archive for as long as the context is open.

        Raises:
            NodeError: There is no such image, or the disk is full.
        """
        self.exports.mkdir(parents=True, exist_ok=True)
        archive = self._archive(f"{names[0]}-and-others")
        try:
            # Each single one is deleted once it is in the archive.
            images.merge(archive, self._exported(names, step))
            yield archive
        finally:
            archive.unlink(missing_ok=True)

    def _exported(self, names: Sequence[str], step: Step | None) -> Iterator[Path]:
        for name in names:
            with self.export(name, step) as archive:
                yield archive

    @contextmanager
    def export(self, name_and_tag: str, step: Step | None = None) -> Iterator[Path]:
        """Write an image as a docker-archive for as long as the context is open.

        Raises:
            NodeError: There is no such image, or the disk is full.
        """
        try:
            self.export_ahead(name_and_tag, step)
            yield self._archive(name_and_tag)
        finally:
            self._archive(name_and_tag).unlink(missing_ok=True)

    def export_ahead(self, name_and_tag: str, step: Step | None = None) -> None:
        """Write the archive that the next `export` of this process uses and deletes.

        Raises:
            NodeError: There is no such image, or the disk is full.
        """
        self._remove_abandoned_archives()
        archive = self._archive(name_and_tag)
        if archive.exists():
            return
        self.exports.mkdir(parents=True, exist_ok=True)
        unfinished = archive.with_suffix(".unfinished")
        unfinished.unlink(missing_ok=True)  # buildah does not write over an archive
        run_logged(
            f"export {images.short_name(name_and_tag)}",
            [*self._buildah("push"), name_and_tag, f"docker-archive:{unfinished}:{name_and_tag}"],
            log=self._log / f"{_file_name(name_and_tag)}-export.log",
            step=step,
            env=self._env,
        )
        unfinished.rename(archive)

    def _archive(self, name_and_tag: str) -> Path:
        return self.exports / f"{_file_name(name_and_tag)}.{os.getpid()}.tar"

    def _remove_abandoned_archives(self) -> None:
        for each in self.exports.glob("*.*.*"):
            process = each.name.split(".")[-2]
            if not Path("/proc", process).exists():
                each.unlink(missing_ok=True)

    def push(self, name_and_tag: str, target: str, step: Step, *, encrypted: bool = True) -> None:
        """Push an image to a registry, with the credentials of `docker login`.

        Args:
            name_and_tag: The image.
            target: Its name in the registry.
            step: Receives the last line of the output.
            encrypted: Whether the registry must use TLS.

        Raises:
            NodeError: There is no such image, or the registry rejects it.
        """
        run_logged(
            f"push {images.short_name(name_and_tag)}",
            [*self._buildah("push"), f"--tls-verify={str(encrypted).lower()}", name_and_tag,
             f"docker://{target}"],
            log=self._log / f"{_file_name(name_and_tag)}-push.log",
            step=step,
            env=self._env,
            what_to_do="Check whether the registry responds and `docker login` is done for it.",
        )  # fmt: skip

    def release(self) -> None:
        """Unmount what the storage has mounted; the images stay."""
        mounts.release_below(self._storage)
        mounts.remove_tree(self._run)

    def _build(
        self,
        name_and_tag: str,
        context: Path,
        containerfile: Path,
        build_args: Mapping[str, str],
        step: Step,
    ) -> None:
        arguments = [f"--build-arg={key}={value}" for key, value in sorted(build_args.items())]
        run_logged(
            f"image {images.short_name(name_and_tag)}",
            [*self._buildah("build"), "--layers", "--pull-never", "--format=docker",
             *arguments, "--file", containerfile, "--tag", name_and_tag, context],
            log=self._log / f"{_file_name(name_and_tag)}.log",
            step=step,
            env=self._env,
            what_to_do="Fix what the log shows, then run it again; finished layers are cached.",
        )  # fmt: skip

    def _buildah(self, command: str) -> list[str]:
        self._storage.mkdir(parents=True, exist_ok=True)
        self._run.mkdir(parents=True, exist_ok=True)
        if not self._conf.exists():
            unfinished = self._conf.with_suffix(f".{threading.get_ident()}")
            unfinished.write_text(_CONTAINERS_CONF.format(self._run / "networks"))
            unfinished.rename(self._conf)
        return ["buildah", f"--root={self._storage}", f"--runroot={self._run}", command]

    @contextmanager
    def _scratch_context(self, rootfs: Path) -> Iterator[Path]:
        """Yield a folder that contains only a link to the tar; one caller at a time."""
        context = self._storage.parent / "base-context"
        self._storage.parent.mkdir(parents=True, exist_ok=True)
        with context.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            shutil.rmtree(context, ignore_errors=True)
            context.mkdir()
            (context / "rootfs.tar").hardlink_to(rootfs)
            try:
                yield context
            finally:
                shutil.rmtree(context, ignore_errors=True)


def _file_name(name_and_tag: str) -> str:
    return name_and_tag.replace("/", "_").replace(":", "_")
