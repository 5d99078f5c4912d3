"""What a user can choose for a kind cluster, by environment variables."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from ashchat_node.errors import NodeError

Way = Literal["pull", "build"]
"""Whether the node image and the backends' images come from registries or from packages."""

NODES_MAX: Final = 9
PORT_OFFSET_MAX: Final = 30_000
"""The highest node port that is mapped is 30283, the highest port of a machine is 65535."""

NAME: Final = "ashchat"
"""The cluster's name unless another one is chosen."""

STEP: Final = "CLUSTER=kind"

_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
"""Part of the names of the nodes, and so a DNS label."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The user's choices.

    Attributes:
        way: KIND_NODE_IMAGE: pull or build; None if it is to be decided.
        nodes: NODES: the number of nodes; the first one is the control plane.
        port_offset: KIND_PORT_OFFSET: what is added to a node port for the port of this machine.
        name: KIND_CLUSTER_NAME, which kind's own commands read, too.
    """

    way: Way | None = None
    nodes: int = 1
    port_offset: int = 0
    name: str = NAME

    @classmethod
    def parse(cls, environ: Mapping[str, str]) -> "Settings":
        """Return the choices in environment variables.

        Raises:
            NodeError: A value is not valid.
        """
        return cls(
            way=_way(environ.get("KIND_NODE_IMAGE", "")),
            nodes=_number(environ, "NODES", default=1, least=1, most=NODES_MAX),
            port_offset=_number(
                environ, "KIND_PORT_OFFSET", default=0, least=0, most=PORT_OFFSET_MAX
            ),
            name=_cluster_name(environ.get("KIND_CLUSTER_NAME") or NAME),
        )


def _way(text: str) -> Way | None:
    match text:
        case "":
            return None
        case "pull" | "build":
            return text
        case _:
            message = f"KIND_NODE_IMAGE is pull or build, not {text}"
            raise NodeError(STEP, message, what_to_do="Correct it.")


def _cluster_name(text: str) -> str:
    if _NAME.fullmatch(text):
        return text
    message = f"KIND_CLUSTER_NAME is letters, digits and hyphens, at most 40, not {text}"
    raise NodeError(STEP, message, what_to_do="Correct it.")


def _number(environ: Mapping[str, str], name: str, *, default: int, least: int, most: int) -> int:
    text = environ.get(name) or str(default)
    if text.isdecimal() and least <= int(text) <= most:
        return int(text)
    raise NodeError(
        STEP, f"{name} is a number from {least} to {most}, not {text}", what_to_do="Correct it."
    )
