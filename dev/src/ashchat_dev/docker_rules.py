"""The packet filter rules of Docker on this machine, and the policy of the FORWARD chain."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

from ashchat_node import packet_filter
from ashchat_node.commands import capture, succeeds
from ashchat_node.errors import NodeError

Policy = Literal["ACCEPT", "DROP"]

_CHAIN: Final = re.compile(r"^DOCKER(?:-|$)")
_BRIDGE: Final = re.compile(r"(?:-i|-o) (?:docker0|br-[0-9a-f]{12})(?: |$)")
_INTERFACE: Final = "docker0"


def parse_forward_policy(rules: str) -> Policy:
    """Return the policy in the output of `iptables -S FORWARD`.

    Raises:
        ValueError: There is none.
    """
    match = re.search(r"^-P FORWARD (ACCEPT|DROP)$", rules, re.MULTILINE)
    if match is None:
        raise ValueError("the output contains no policy of FORWARD")
    return "ACCEPT" if match[1] == "ACCEPT" else "DROP"


def forward_policy() -> Policy:
    """Return the policy of forwarded packets.

    Raises:
        NodeError: iptables does not answer.
    """
    return parse_forward_policy(capture("Docker", ["iptables", "--wait", "-S", "FORWARD"]))


def set_forward_policy(policy: Policy) -> None:
    """Set the policy of forwarded packets if it is another one.

    Raises:
        NodeError: It cannot be set.
    """
    if forward_policy() != policy:
        capture("Docker", ["iptables", "--wait", "-P", "FORWARD", policy])


@contextmanager
def forward_policy_kept() -> Iterator[None]:
    """Restore the policy of forwarded packets at the end.

    Raises:
        NodeError: It cannot be set.
    """
    # Without the program no rule was ever set, and the kernel's default applies.
    policy: Policy = forward_policy() if shutil.which("iptables") else "ACCEPT"
    try:
        yield
    finally:
        if shutil.which("iptables"):
            set_forward_policy(policy)


def removal(saved: str) -> str:
    """Return the input of iptables-restore --noflush that removes Docker's rules and chains.

    They include the rules of its bridges. `saved` is the output of iptables-save.
    """
    return packet_filter.removal(saved, _CHAIN, _BRIDGE)


def remove() -> None:
    """Remove the rules and the bridge that a stopped engine leaves.

    Raises:
        NodeError: A rule stays.
    """
    for family in ("iptables", "ip6tables"):
        try:
            saved = capture("Docker", [f"{family}-save"])
        except NodeError:
            continue  # the kernel has no such tables
        if commands := removal(saved):
            capture("Docker", [f"{family}-restore", "--noflush"], stdin=commands)
    if Path("/sys/class/net", _INTERFACE).exists():
        succeeds(["ip", "link", "delete", _INTERFACE])
