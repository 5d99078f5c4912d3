"""What a machine lacks that kind's nodes expect, and how their configuration adapts.

On most machines nothing has to be adapted. Pure functions edit the files of kind's base image; each
fails if a new version of kind no longer contains what it replaces.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ashchat_dev.kind.settings import STEP
from ashchat_node.commands import capture
from ashchat_node.errors import NodeError
from ashchat_node.machine import CAP_SYS_RESOURCE, CgroupVersion, parse_capability, parse_cgroup

_RUNTIMES: Final = 2
"""kind configures runc, and a second runtime for tests of Kubernetes."""

_STATUS: Final = Path("/proc/self/status")
_MOUNTS: Final = Path("/proc/mounts")


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine that runs the containers of the nodes.

    Attributes:
        cgroup: Its cgroup version, as Docker reports it.
        sys_resource: Whether containers can have CAP_SYS_RESOURCE, which lowering an OOM score
            and raising a limit require (capabilities(7)).
    """

    cgroup: CgroupVersion = "v2"
    sys_resource: bool = True

    @classmethod
    def detect(cls) -> "Machine":
        """Return the machine of the Docker engine.

        Raises:
            NodeError: Docker does not answer.
        """
        version = capture(STEP, ["docker", "info", "--format={{.CgroupVersion}}"]).strip()
        # Elsewhere than on Linux, Docker runs in a virtual machine that lacks nothing.
        return cls("v1" if version == "1" else "v2", not _STATUS.exists() or _sys_resource())

    @classmethod
    def this(cls) -> "Machine":
        """Return this Linux machine, on which a Docker engine may be started later."""
        version, _ = parse_cgroup(_MOUNTS.read_text())
        return cls(version, _sys_resource())

    def described(self) -> str:
        """Return what is adapted, for display; empty if nothing is."""
        found = ["cgroup v1"] if self.cgroup == "v1" else []
        found += [] if self.sys_resource else ["no CAP_SYS_RESOURCE"]
        return ", ".join(found)

    def kubelet(self) -> dict[str, Any]:
        """Return the fields of the KubeletConfiguration that this machine requires."""
        fields: dict[str, Any] = {}
        if self.cgroup == "v1":
            fields["failCgroupV1"] = False
        if not self.sys_resource:
            # The kubelet then continues if the kernel rejects limits and OOM scores.
            fields["featureGates"] = {"KubeletInUserNamespace": True}
        return fields


def _sys_resource() -> bool:
    return parse_capability(_STATUS.read_text(), CAP_SYS_RESOURCE)


def containerd_config(text: str, machine: Machine, sandbox_image: str) -> str:
    """Return kind's containerd configuration for a machine and the sandbox image that it has.

    Raises:
        NodeError: The configuration does not contain a setting that is replaced.
    """
    text = _replaced(text, r'^(\s*sandbox_image = )".*"$', rf'\g<1>"{sandbox_image}"')
    if machine.cgroup == "v1":
        # With systemd, runc freezes each new container for a moment, and fails on a busy machine
        # ("unable to freeze"). The kubelet takes the driver from the runtime (KEP-4033).
        text = _replaced(text, r"^(\s*SystemdCgroup = )true$", r"\g<1>false", times=_RUNTIMES)
    if not machine.sys_resource:
        text = _replaced(text, r"^(\s*restrict_oom_score_adj = )false$", r"\g<1>true")
    return text


def systemd_unit(text: str, machine: Machine) -> str:
    """Return a unit of systemd without settings that the machine cannot grant."""
    if machine.sys_resource:
        return text
    return re.sub(r"^(?:OOMScoreAdjust|Limit[A-Z]+)=.*\n", "", text, flags=re.MULTILINE)


def _replaced(text: str, pattern: str, replacement: str, *, times: int = 1) -> str:
    replaced, count = re.subn(pattern, replacement, text, flags=re.MULTILINE)
    if count != times:
        raise NodeError(
            "kind node image",
            f"kind's containerd configuration matches {pattern} {count} times instead of {times}",
            what_to_do="Adapt dev/src/ashchat_dev/kind/adaptations.py to this version of kind.",
        )
    return replaced
