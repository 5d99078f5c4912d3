"""Bring a virtual host of RabbitMQ to the topology table and read it back."""

from itertools import groupby
from typing import Final, Protocol

from ashchat_core import topology
from ashchat_core.api.reasons import Reason
from ashchat_core.wording import counted
from ashchat_operator.backends.base import (
    Accounts,
    BackendResult,
    FeatureMissingError,
    StartingError,
    require_version,
    with_provided_login,
)
from ashchat_operator.backends.connectivity import check, explained, retry_unreachable
from ashchat_operator.backends.rabbitmq.client import (
    MAX_REQUESTS,
    ManagementClient,
    management_address,
)
from ashchat_operator.backends.rabbitmq.desired import (
    Desired,
    RabbitMQTarget,
    VirtualHostState,
    desired,
)
from ashchat_operator.backends.rabbitmq.plan import Action, Definitions, Plan, definitions, plan
from ashchat_operator.kube.concurrency import gather_limited

MINIMUM_VERSION: Final = (3, 10)
"""The first with at-least-once dead-lettering and TTL in quorum queues."""


class RabbitMQAdmin(Protocol):
    """A broker, as the reconciliation uses it."""

    username: str

    async def read(self, vhost: str) -> VirtualHostState:
        """Return everything that `plan` compares."""

    async def quorum_queues(self) -> bool:
        """Return whether quorum queues are enabled."""

    async def define(self, definitions: Definitions) -> bool:
        """Carry out many actions in one request; return whether the broker accepted them."""

    async def perform(self, action: Action) -> None:
        """Carry out one action."""


async def reconcile(client: RabbitMQAdmin, wanted: Desired, *, write: bool = True) -> BackendResult:
    """Bring a broker to what is desired and read it back.

    Args:
        client: The broker.
        wanted: What must exist.
        write: False only reports what would be written.

    Returns:
        Ready only if what was read back last is what is desired.

    Raises:
        BackendError: The broker cannot be asked, or rejected a request.
    """
    state, todo = await _look(client, wanted)
    require_version(
        "RabbitMQ",
        state.version,
        MINIMUM_VERSION,
        "quorum queues lack at-least-once dead-lettering",
    )
    changes = tuple(action.description for action in todo.actions)
    if not write and changes:
        return BackendResult(
            ready=False,
            reason=Reason.DRIFTED,
            message=(
                f"RabbitMQ differs from the declared topology in {counted(len(changes), 'place')}."
            ),
            changes=changes,
            version=state.version,
        )
    if changes:
        state, todo = await _perform(client, wanted, state, todo)
        if todo.actions:
            raise StartingError(
                f"RabbitMQ accepted {counted(len(changes), 'change')}, but still differs when "
                f"read back: "
                f"{todo.actions[0].description}, for example. Another client may be changing it."
            )
    dead = {
        name: int(queue.get("messages") or 0)
        for name, queue in state.queues.items()
        if name.endswith(topology.DEAD_LETTER_SUFFIX)
    }
    if todo.problems:
        return BackendResult(
            ready=False,
            reason=todo.problems[0].reason,
            message=" ".join(problem.message for problem in todo.problems),
            changes=changes,
            version=state.version,
            dead_letters=dead,
        )
    declared = (
        f"{counted(len(wanted.queues), 'queue')}, "
        f"{counted(len(wanted.policies), 'policy', 'policies')}"
    )
    if not wanted.declare_users:
        return with_provided_login(
            f"{declared} are as declared in virtual host {wanted.vhost} of RabbitMQ "
            f"{state.version}.",
            client.username,
            state.version,
            changes=changes,
            dead_letters=dead,
        )
    return BackendResult(
        ready=True,
        reason=Reason.DECLARED,
        message=(
            f"{declared} and {counted(len(wanted.logins), 'user')} are as declared in virtual host "
            f"{wanted.vhost}."
        ),
        changes=changes,
        version=state.version,
        dead_letters=dead,
    )


async def _look(client: RabbitMQAdmin, wanted: Desired) -> tuple[VirtualHostState, Plan]:
    """Return what exists, and what is left to do."""
    state = await client.read(wanted.vhost)
    return state, plan(wanted, state, client.username)


async def _perform(
    client: RabbitMQAdmin, wanted: Desired, state: VirtualHostState, todo: Plan
) -> tuple[VirtualHostState, Plan]:
    """Carry out a plan; return what was read back, and what is left to do.

    A broker that lacks much imports it in one request, which is less work for both sides. If it
    rejects that, separate requests show which part it rejects.
    """
    if any(action.kind == "queues" for action in todo.actions) and not await client.quorum_queues():
        raise FeatureMissingError(
            f"RabbitMQ {state.version} has quorum queues disabled. Enable them: "
            "rabbitmqctl enable_feature_flag quorum_queue"
        )
    many = sum(action.names is not None for action in todo.actions) > MAX_REQUESTS
    if many and wanted.declare_users and await client.define(definitions(todo.actions)):
        state, todo = await _look(client, wanted)
        if not todo.actions:
            return state, todo
    for _, stage in groupby(todo.actions, key=lambda action: action.kind):
        await gather_limited(client.perform, stage, MAX_REQUESTS)
    return await _look(client, wanted)


async def ensure(target: RabbitMQTarget, accounts: Accounts, *, write: bool) -> BackendResult:
    """Bring the RabbitMQ of a target to the topology table.

    Args:
        target: The server, and the virtual host there.
        accounts: The users that must exist and those that must not, without a prefix.
        write: False only reports what would be written.

    Raises:
        BackendError: The server cannot be asked, or rejected a request.
    """
    accounts = accounts.prefixed(target.prefix)
    wanted = desired(
        target.vhost, accounts.logins, accounts.retired, declare_users=target.declare_users
    )

    async def ask() -> BackendResult:
        async with ManagementClient(target) as client:
            return await reconcile(client, wanted, write=write)

    if target.address is None:
        return await retry_unreachable(ask)
    await check("RabbitMQ (AMQP)", target.address)
    async with explained("RabbitMQ's management API", management_address(target)):
        return await ask()
