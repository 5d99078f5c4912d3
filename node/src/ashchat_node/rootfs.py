"""Debian base file systems without a registry: debootstrap, cached as tar files.

A base is the result of `debootstrap --variant=minbase` plus what image builds on it need: the
host's trusted certificates and mirrors, no services started by packages, no documentation. See
debootstrap(8), sources.list(5) and dpkg.cfg(5).
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ashchat_node import mounts
from ashchat_node.commands import run_logged
from ashchat_node.errors import NodeError
from ashchat_node.paths import Paths, default_paths
from ashchat_node.progress import Progress, Step

BASE_SUITE: Final = "trixie"
"""Debian 13, the base that kube-proxy and the product's images share."""

BASE_PACKAGES: Final = (
    "ca-certificates",
    "python3",
    "python3-venv",
    "nftables",
    "iptables",
    "kmod",
    "procps",
)

HOST_CA: Final = "/etc/ssl/host-ca.pem"
"""The host's trusted certificates in a base, because builds may run behind a proxy."""

IMAGE_ENV: Final = {"SSL_CERT_FILE": HOST_CA, "PIP_CERT": HOST_CA}
"""Environment of images on a base, so that pip and Python find the certificates."""

_RECIPE: Final = 1  # raised when the steps below change what comes out
_KEYRING: Final = "/usr/share/keyrings/debian-archive-keyring.gpg"
_HOST_CA_FILES: Final = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
_UNWANTED: Final = (
    "usr/share/man", "usr/share/locale", "usr/share/info", "usr/share/lintian",
    "var/cache/apt", "var/lib/apt/lists", "var/log", "etc/machine-id", "etc/hostname",
    "etc/resolv.conf", "var/cache/ldconfig/aux-cache",
)  # fmt: skip
_DPKG_EXCLUDES: Final = """\
path-exclude=/usr/share/man/*
path-exclude=/usr/share/info/*
path-exclude=/usr/share/locale/*
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
"""
_APT_SETTINGS: Final = """\
APT::Install-Recommends "false";
Acquire::Languages "none";
Acquire::Retries "3";
DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb || true"; };
"""


@dataclass(frozen=True)
class Mirrors:
    """The host's Debian mirrors; `security` is empty if there is none."""

    main: str
    security: str = ""


def parse_mirrors(sources: Sequence[str]) -> Mirrors | None:
    """Return the mirrors in apt source files, deb822 or one-line (sources.list(5)).

    Args:
        sources: The texts of the files.

    Returns:
        The mirrors of Debian itself (a source whose last path segment is `debian` or
        `debian-security`), or None if there is no such source.
    """
    main = security = ""
    for uri in re.findall(
        r"^(?:URIs:|deb\s+(?:\[[^]]*\])?)\s*(\S+)", "\n".join(sources), re.MULTILINE
    ):
        last = uri.rstrip("/").rsplit("/", 1)[-1]
        if last == "debian":
            main = main or uri
        elif last == "debian-security":
            security = security or uri
    return Mirrors(main, security) if main else None


def host_mirrors() -> Mirrors:
    """Return the mirrors that the host's apt uses.

    Raises:
        NodeError: The host has no source of Debian's packages.
    """
    apt = Path("/etc/apt")
    files = [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]
    texts = [file.read_text() for file in files if file.is_file()]
    if mirrors := parse_mirrors(texts):
        return mirrors
    raise NodeError(
        "debootstrap",
        "no Debian mirror found in /etc/apt",
        what_to_do="The node from packages needs a Debian host; elsewhere use Docker with kind.",
    )


def sources_list(suite: str, mirrors: Mirrors) -> str:
    """Return the sources.list of a base; the unstable suite has no separate updates."""
    lines = [f"deb {mirrors.main} {suite} main"]
    if suite not in {"sid", "unstable"}:
        lines.append(f"deb {mirrors.main} {suite}-updates main")
        if mirrors.security:
            lines.append(f"deb {mirrors.security} {suite}-security main")
    return "\n".join(lines) + "\n"


def archive_path(suite: str, include: tuple[str, ...], cache: Path) -> Path:
    """Return where the base of this suite with these packages is cached."""
    recipe = json.dumps([_RECIPE, suite, sorted(include), os.uname().machine])
    digest = hashlib.sha256(recipe.encode()).hexdigest()[:12]
    return cache / "rootfs" / f"{suite}-{digest}.tar"


def debootstrap(
    suite: str, include: tuple[str, ...], progress: Progress, *, paths: Paths | None = None
) -> Path:
    """Create a minimal Debian root file system unless it is cached.

    An interrupted run leaves nothing that a later one would treat as complete; fetched packages
    are reused. Of two concurrent callers, the second waits for the first.

    Args:
        suite: The Debian suite, for example trixie or sid.
        include: Additional packages.
        progress: Receives the steps.
        paths: Where things are kept; the machine's by default.

    Returns:
        An uncompressed tar of the file system, good as the one layer of an image.

    Raises:
        NodeError: The host has no mirror, or debootstrap failed.
    """
    where = paths or default_paths()
    archive = archive_path(suite, include, where.cache)
    archive.parent.mkdir(parents=True, exist_ok=True)
    with archive.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if archive.exists():
            return archive
        with progress.step(f"Debian {suite} base") as step:
            _make(suite, include, archive, where, step)
    return archive


def _make(suite: str, include: tuple[str, ...], archive: Path, paths: Paths, step: Step) -> None:
    name = f"Debian {suite} base"
    mirrors = host_mirrors()
    root = archive.with_suffix(".root")
    mounts.remove_tree(root)  # of an interrupted run; debootstrap mounts /proc below it
    debs = paths.cache / "debs" / suite
    debs.mkdir(parents=True, exist_ok=True)
    command = ["debootstrap", "--variant=minbase", f"--keyring={_KEYRING}", f"--cache-dir={debs}"]
    if include:
        command.append(f"--include={','.join(include)}")
    run_logged(
        name,
        [*command, suite, root, mirrors.main],
        log=paths.log / f"debootstrap-{suite}.log",
        step=step,
        env={"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"},
        what_to_do="Check whether the Debian mirror responds (apt-get update), then run it again.",
    )
    mounts.release_below(root)
    _adapt(root, sources_list(suite, mirrors))
    step.detail("archive")
    unfinished = archive.with_suffix(".tmp")
    run_logged(
        name,
        ["tar", "--create", "--file", unfinished, "--directory", root, "--sort=name",
         "--numeric-owner", "--one-file-system", "--exclude=./dev/*", "--exclude=./proc/*",
         "--exclude=./sys/*", "."],
        log=paths.log / f"debootstrap-{suite}-tar.log",
    )  # fmt: skip
    unfinished.rename(archive)
    mounts.remove_tree(root)
    shutil.rmtree(debs)


def _adapt(root: Path, sources: str) -> None:
    """Prepare a new root file system for image builds."""
    for name in _UNWANTED:
        path = root / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    # Folders that programs expect: apt's folders, a log folder for services.
    for folder in ("var/cache/apt/archives/partial", "var/lib/apt/lists/partial", "var/log"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "etc/apt/sources.list").write_text(sources)
    (root / "etc/apt/apt.conf.d/90image").write_text(_APT_SETTINGS)
    (root / "etc/dpkg/dpkg.cfg.d/90image").write_text(_DPKG_EXCLUDES)
    policy = root / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")  # packages must not start services in a build
    policy.chmod(0o755)
    for name in _HOST_CA_FILES:
        if Path(name).exists():
            shutil.copyfile(Path(name).resolve(), root / HOST_CA.lstrip("/"))
            break
