"""Image builds from Containerfiles without a daemon or a registry: buildah.

buildah(1) with its own storage below the cache. The chroot isolation needs no container
runtime, and processes of a build see the host's network.
"""

import fcntl
import json
import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ashchat_node import mounts
from ashchat_node.commands import capture, run_logged, succeeds
from ashchat_node.progress import Progress, Step
from ashchat_node.rootfs import IMAGE_ENV

_ENV: Final = {"STORAGE_DRIVER": "overlay", "BUILDAH_ISOLATION": "chroot"}

_CONTAINERS_CONF: Final = """\
# containers.conf(5): buildah makes its folder for networks; by default in /etc/cni.
[network]
network_config_dir = "{}"
"""


class Builder:
    """Builds images into a storage of its own.

    Builds may run at the same time in several threads or processes; buildah locks its
    storage itself.
    """

    def __init__(
        self,
        cache: Path,
        *,
        log: Path = Path("/var/log/ashchat-node"),
        run: Path = Path("/run/ashchat-node"),
    ) -> None:
        """Uses the storage below `cache`, logs to `log`/images, keeps locks below `run`."""
        self._storage = cache / "buildah"
        self._exports = cache / "exports"
        self._run = run / "buildah"
        self._log = log / "images"
        self._conf = cache / "containers.conf"
        self._env = {**_ENV, "CONTAINERS_CONF": str(self._conf)}

    def exists(self, name_and_tag: str) -> bool:
        """Tells whether the storage holds an image of this name and tag."""
        return succeeds([*self._buildah("inspect"), "--type", "image", name_and_tag], env=self._env)

    def digest(self, name_and_tag: str) -> str:
        """Returns the image's id: the hash of its configuration, so of its content.

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
        """Builds a Containerfile, or finds the image where its tag exists.

        A tag stands for what went into the image, so an existing one is never built again.
        Layers are cached over builds.

        Args:
            name_and_tag: The image's name, for example localhost/ashchat-auth:1a2b3c.
            context: The folder that COPY and ADD read from.
            containerfile: The Containerfile (no heredocs: buildah 1.28 knows none).
            build_args: The values of its ARGs.
            progress: Told what is being done.

        Returns:
            The image's name.

        Raises:
            NodeError: The build failed; the error ends with the build's last lines.
        """
        if self.exists(name_and_tag):
            return name_and_tag
        with progress.step(f"image {_short(name_and_tag)}") as step:
            self._build(name_and_tag, context, containerfile, build_args, step)
        return name_and_tag

    def base(
        self,
        name_and_tag: str,
        rootfs: Path,
        progress: Progress,
        env: Mapping[str, str] = IMAGE_ENV,
    ) -> str:
        """Turns a root file system (a tar) into an image of one layer.

        Args:
            name_and_tag: The image's name.
            rootfs: The tar, for example of `rootfs.debootstrap`.
            progress: Told what is being done.
            env: The image's environment; the host's certificates by default.

        Returns:
            The image's name.

        Raises:
            NodeError: The build failed.
        """
        if self.exists(name_and_tag):
            return name_and_tag
        with (
            progress.step(f"image {_short(name_and_tag)}") as step,
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
    def export(self, name_and_tag: str, step: Step | None = None) -> Iterator[Path]:
        """Writes an image as a docker-archive for as long as the context is open.

        Raises:
            NodeError: There is no such image, or the disk is full.
        """
        self._exports.mkdir(parents=True, exist_ok=True)
        archive = self._exports / f"{_file_name(name_and_tag)}.{os.getpid()}.tar"
        archive.unlink(missing_ok=True)  # buildah does not write over an archive
        try:
            run_logged(
                f"export {_short(name_and_tag)}",
                [*self._buildah("push"), name_and_tag, f"docker-archive:{archive}:{name_and_tag}"],
                log=self._log / f"{_file_name(name_and_tag)}-export.log",
                step=step,
                env=self._env,
            )
            yield archive
        finally:
            archive.unlink(missing_ok=True)

    def release(self) -> None:
        """Detaches what the storage has mounted; the images stay."""
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
            f"image {_short(name_and_tag)}",
            [*self._buildah("build"), "--layers", "--pull-never", "--format=docker",
             *arguments, "--file", containerfile, "--tag", name_and_tag, context],
            log=self._log / f"{_file_name(name_and_tag)}.log",
            step=step,
            env=self._env,
            what_to_do="Mend what the log shows, then run it again; finished layers are kept.",
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
        """A folder that holds nothing but the tar, by a link; one caller at a time."""
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


def _short(name_and_tag: str) -> str:
    """The name without its registry and tag: what a person calls the image."""
    return name_and_tag.rsplit("/", 1)[-1].split(":", 1)[0]


def _file_name(name_and_tag: str) -> str:
    return name_and_tag.replace("/", "_").replace(":", "_")
