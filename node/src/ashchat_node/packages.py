"""Installs missing Debian packages; changes nothing else."""

import fcntl
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from ashchat_node.commands import capture, run_logged
from ashchat_node.errors import NodeError
from ashchat_node.paths import Paths
from ashchat_node.progress import Progress

NODE_PACKAGES: Final = (
    "buildah",  # builds images from Containerfiles without a daemon
    "catatonit",  # the pause container's program: static, reaps children
    "conntrack",  # kubeadm checks for these four
    "ethtool",
    "iproute2",
    "socat",
    "containernetworking-plugins",
    "debootstrap",
    "iptables",
    "ipset",
    "runc",
)
_INSTALLED: Final = "install ok installed"
_APT: Final = ("apt-get", "-o", "DPkg::Lock::Timeout=300")
"""How long apt waits for another program that installs packages (apt.conf(5))."""


def parse_missing(wanted: Iterable[str], dpkg_output: str) -> list[str]:
    """Return the packages that dpkg-query does not report as installed.

    Args:
        wanted: Package names.
        dpkg_output: Lines of "package status", as `installed_output` asks for them.
    """
    installed = {
        line.split(" ", 1)[0]
        for line in dpkg_output.splitlines()
        if line.partition(" ")[2] == _INSTALLED
    }
    return [name for name in wanted if name not in installed]


def missing(wanted: Iterable[str]) -> list[str]:
    """Return the packages that are not installed.

    Raises:
        NodeError: dpkg-query itself fails.
    """
    output = capture("packages", ["dpkg-query", "--show", "--showformat=${Package} ${Status}\n"])
    return parse_missing(wanted, output)


def install(wanted: Iterable[str], progress: Progress, paths: Paths) -> None:
    """Install missing packages.

    Services are not started, debconf does not ask, recommended packages are not installed. Of
    two concurrent callers (threads or processes), the second waits.

    Raises:
        NodeError: apt cannot install one of them.
    """
    if not missing(wanted):
        return
    paths.cache.mkdir(parents=True, exist_ok=True)
    with (paths.cache / "apt.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if absent := missing(wanted):
            _install(absent, progress, paths)


def _install(absent: list[str], progress: Progress, paths: Paths) -> None:
    env = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    with progress.step("Debian packages") as step:
        try:
            run_logged(
                "Debian packages",
                [*_APT, "update"],
                log=paths.log / "apt-update.log",
                step=step,
                env=env,
            )
        except NodeError:
            # One of several sources may be down; only the installation must succeed.
            step.detail("some package lists are out of date")
        run_logged(
            "Debian packages",
            [*_APT, "install", "--yes", "--no-install-recommends", *absent],
            log=paths.log / "apt-install.log",
            step=step,
            env=env,
            what_to_do="Check whether apt works here (apt-get update).",
        )


def file_of(path: str) -> Path:
    """Return a file of a package.

    Raises:
        NodeError: It is not there.
    """
    file = Path(path)
    if not file.exists():
        raise NodeError("Debian packages", f"{path} is missing", what_to_do="Reinstall it.")
    return file
