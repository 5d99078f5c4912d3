"""The images of the control plane and of the volumes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ashchat_node import images, kubeadm, packages, volumes

_PAUSE_PROGRAM: Final = "/usr/bin/catatonit"


def provisioner_image(programs: Mapping[str, Path]) -> str:
    """Return the provisioner's image, tagged with the hash in its program's folder name."""
    return f"{kubeadm.IMAGE_REPOSITORY}/{volumes.NAME}:{content(programs[volumes.NAME])}"


def content(program: Path) -> str:
    """Return the hash of a program's inputs from its folder's name."""
    return program.parent.name.rsplit("-", 1)[1]


def node_images(
    programs: Mapping[str, Path], base: Path, names: Mapping[str, str]
) -> list[images.Image]:
    """Return the images of the control plane, as kubeadm names them, and of the volumes."""
    found: list[images.Image] = [
        images.static_program(names[name], programs[name])
        for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd")
    ]
    found += [
        images.static_program(names["coredns"], programs["coredns"], at="coredns"),
        images.Image(
            name=names["pause"],
            files={"pause": packages.file_of(_PAUSE_PROGRAM)},
            entrypoint=("/pause", "-P"),  # holds the namespaces, reaps, runs nothing
        ),
        images.Image(
            name=names["kube-proxy"],
            files={"usr/local/bin/kube-proxy": programs["kube-proxy"]},
            rootfs=base,  # it needs iptables and conntrack's modules' tools
        ),
        images.static_program(provisioner_image(programs), programs[volumes.NAME]),
    ]
    return found
