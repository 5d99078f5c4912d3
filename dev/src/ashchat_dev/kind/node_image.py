"""Builds kind's node image from packages: our Debian base, Go modules, and kind's own files.

kind's Go module contains the files of its base image (images/base/files): entrypoint, systemd
units, containerd's configuration. They are read from the module at build time. Kubernetes and the
images of its control plane are those of the node from packages.
"""

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ashchat_dev import docker
from ashchat_dev.images import ROOT, content_tag
from ashchat_dev.kind import adaptations
from ashchat_dev.kind.adaptations import Machine
from ashchat_node import images, kubeadm, rootfs, volumes
from ashchat_node.buildah import Builder
from ashchat_node.commands import capture, run_logged
from ashchat_node.gotools import GoTools
from ashchat_node.node import CORE_TOOLS
from ashchat_node.node_images import node_images, provisioner_image
from ashchat_node.paths import Paths
from ashchat_node.progress import Progress

NAME: Final = "localhost/ashchat-kind-node"
TOOLS: Final = (*CORE_TOOLS, "kind")
"""Go tools that the image needs."""

RECIPE: Final = ROOT / "images" / "kind-node"
VOLUMES: Final = Path("/var/local-path-provisioner")
"""Where the volumes are on a node: in /var, which is a Docker volume."""

_BASE_FILES: Final = Path("images") / "base" / "files"
_SCRIPTS: Final = ("usr/local/bin", "kind/bin")
_CONTAINERD_CONFIG: Final = "etc/containerd/config.toml"
_UNITS: Final = "etc/systemd/system"
_ON_NODE: Final = ("containerd", "containerd-shim-runc-v2", "ctr", "kubeadm", "kubectl", "kubelet")
"""Programs that run outside of containers."""


class NodeImage:
    """The node image for a machine."""

    def __init__(self, paths: Paths, tools: GoTools, builder: Builder, machine: Machine) -> None:
        self._paths = paths
        self._tools = tools
        self._builder = builder
        self._machine = machine

    def reference(self) -> str:
        """Return the image's name and a tag that includes everything it is built from."""
        parts = [repr(self._machine), self._base_archive.stem]
        parts += [self._tools.folder(tool).name for tool in TOOLS]
        parts.append(json.dumps(volumes.objects("provisioner", "helper", VOLUMES)))
        files = [RECIPE, Path(__file__), Path(adaptations.__file__)]
        return f"{NAME}:{content_tag(parts, files)}"

    def exists(self) -> bool:
        """Return whether Docker has the image."""
        return docker.exists(self.reference())

    def build(self, base: str, progress: Progress) -> None:
        """Build the image and load it into Docker, unless it exists.

        Args:
            base: The reference of the Debian base, which the builder has.
            progress: Receives the steps.

        Raises:
            NodeError: A tool, a package or the image cannot be built.
        """
        if self.exists():
            return
        self.prepare(base, progress)
        reference = self.reference()
        with (
            progress.step("kind node image: load into Docker") as step,
            self._builder.export(reference, step) as archive,
        ):
            run_logged(
                "kind node image",
                ["docker", "load", "--quiet", f"--input={archive}"],
                log=self._paths.log / "images" / "kind-node-load.log",
                step=step,
            )

    def prepared(self) -> bool:
        """Return whether the image is built, so that it only has to be loaded into Docker."""
        return self._builder.exists(self.reference())

    def prepare(self, base: str, progress: Progress) -> None:
        """Build the image unless it is built, which needs no Docker.

        Args:
            base: The reference of the Debian base, which the builder has.
            progress: Receives the steps.

        Raises:
            NodeError: A tool, a package or the image cannot be built.
        """
        if self.prepared():
            return
        programs: dict[str, Path] = {}
        for tool in TOOLS:
            programs |= self._tools.build(tool, progress)
        with progress.step("kind node image: files"), self._context(programs) as context:
            self._builder.build(
                self.reference(), context, context / "Containerfile", {"BASE": base}, progress
            )

    @property
    def _base_archive(self) -> Path:
        return rootfs.archive_path(rootfs.BASE_SUITE, rootfs.BASE_PACKAGES, self._paths.cache)

    @contextmanager
    def _context(self, programs: Mapping[str, Path]) -> Iterator[Path]:
        """Write the files of the build for as long as the context is open."""
        version = self._tools.version("kubernetes")
        listed = capture(
            "kind node image",
            [programs["kubeadm"], "config", "images", "list", f"--kubernetes-version={version}"],
        )
        names = kubeadm.parse_image_list(listed)
        with tempfile.TemporaryDirectory(dir=self._paths.cache, prefix="kind-node-") as folder:
            context = Path(folder)
            shutil.copytree(RECIPE, context, dirs_exist_ok=True)
            self._base_files(context / "files", names["pause"])
            kind = context / "files" / "kind"
            (kind / "version").write_text(version)
            (kind / "manifests").mkdir()
            (kind / "manifests" / "default-storage.yaml").write_text(manifest(programs, names))
            (context / "bin").mkdir()
            for name in _ON_NODE:
                shutil.copy2(programs[name], context / "bin" / name)
            images.write_archive(
                context / "images.tar", node_images(programs, self._base_archive, names)
            )
            yield context

    def _base_files(self, target: Path, sandbox_image: str) -> None:
        """Copy kind's files, adapted to the machine."""
        module = self._tools.module("kind")
        # Files of Go's module cache are read-only, which their copies must not be.
        shutil.copytree(module / _BASE_FILES, target, copy_function=shutil.copyfile)
        for folder in [target, *(each for each in target.rglob("*") if each.is_dir())]:
            folder.chmod(0o755)
        for scripts in _SCRIPTS:
            for script in (target / scripts).iterdir():
                script.chmod(0o755)
        config = target / _CONTAINERD_CONFIG
        config.write_text(
            adaptations.containerd_config(config.read_text(), self._machine, sandbox_image)
        )
        for unit in (target / _UNITS).glob("*.service"):
            unit.write_text(adaptations.systemd_unit(unit.read_text(), self._machine))


def manifest(programs: Mapping[str, Path], names: Mapping[str, str]) -> str:
    """Return the objects of dynamic volumes, which kind applies to a new cluster.

    Args:
        programs: The built programs.
        names: The control plane's images by their short names.
    """
    items = volumes.objects(provisioner_image(programs), names["kube-proxy"], VOLUMES)
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items}, indent=2)
