"""Which cluster `make up` uses; never one that the user did not name."""

import os
import platform
from dataclasses import dataclass
from typing import Literal

from ashchat_dev import docker
from ashchat_node.paths import default_paths

Kind = Literal["kind", "node", "current"]


class NoClusterError(Exception):
    """No cluster is available; the message names the ways to get one."""


@dataclass(frozen=True, slots=True)
class Machine:
    """The facts that decide.

    Attributes:
        docker: Whether a Docker engine answers.
        linux: Whether this is Linux.
        root: Whether this process is root.
        node: Whether the machine has a node from packages, which only root can use.
    """

    docker: bool
    linux: bool
    root: bool
    node: bool = False


def look() -> Machine:
    """Look at this machine. Docker counts only when its engine answers."""
    root = os.geteuid() == 0
    return Machine(
        docker=docker.answers(),
        linux=platform.system() == "Linux",
        root=root,
        node=root and default_paths().owner.exists(),
    )


def choose(wanted: str | None, machine: Machine) -> Kind:
    """Return the cluster to use.

    Raises:
        NoClusterError: None is available, or the requested one is not.
    """
    match wanted:
        case "current":
            return "current"
        case "kind" if machine.docker:
            return "kind"
        case "kind":
            raise NoClusterError("CLUSTER=kind needs Docker, and no Docker engine answers here.")
        case "node" if machine.linux and machine.root:
            return "node"
        case "node":
            raise NoClusterError("CLUSTER=node needs Linux and root.")
        case None | "":
            if machine.node:
                return "node"
            if machine.docker:
                return "kind"
            if machine.linux and machine.root:
                return "node"
            raise NoClusterError(
                "There is no cluster to use. Either start Docker (then kind is used), or run "
                "this as root on Linux (then a one-node Kubernetes is built from packages). "
                "For an existing cluster, set CLUSTER=current and IMAGE_REGISTRY=…"
            )
        case other:
            raise NoClusterError(f"CLUSTER is kind, node or current, not {other}.")
