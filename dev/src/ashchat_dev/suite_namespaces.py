"""Namespaces of the end-to-end suite that the cluster's own operator excludes, and node ports.

In all of them the suite runs other operators: one for each worker after the first, and those that
it starts as processes behind a proxy.
"""

from typing import Final

WORKERS: Final = 3
"""Processes that share the end-to-end suite, each with a separate AshChat."""

WORKERS_MAX: Final = 4
"""Maximum number of workers: the cluster's operator excludes the namespaces of all of them."""

EDGE_PORTS: Final = 30180
MAILBOX_PORTS: Final = 30280
"""Node ports of the further workers' AshChats and mailboxes: these plus the worker's number."""

HTTPS_PORT: Final = 30443
"""The node port of an edge with TLS, in the tests of it."""

FIRST: Final = "ashchat"
"""The namespace of the first worker: that of the AshChat that `make up` applies."""

SUFFIXES: Final = (
    "deletion",
    "deletion-data",
    "deletion-held",
    "deletion-retain",
    "deletion-freed",
    "deletion-waits",
    "external",
)
"""What tests append to the name of their worker's namespace to name further ones."""

SCOPED: Final = tuple(f"ashchat-scoped-{number}" for number in range(11))
"""Namespaces of operators that are not a worker's."""


def of_worker(worker: int) -> str:
    """Return the namespace of a worker's AshChat."""
    return FIRST if worker == 0 else f"{FIRST}-worker-{worker}"


def reconciled_for(worker: int) -> tuple[str, ...]:
    """Return all namespaces that a worker's operator reconciles."""
    own = of_worker(worker)
    return (own, *(f"{own}-{suffix}" for suffix in SUFFIXES))


def excluded() -> tuple[str, ...]:
    """Return what the cluster's operator excludes."""
    others = (name for worker in range(1, WORKERS_MAX) for name in reconciled_for(worker))
    return (*others, *SCOPED)
