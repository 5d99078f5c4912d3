"""Compare a virtual host with the topology table: which requests repair it. Pure.

HTTP API: https://www.rabbitmq.com/docs/http-api-reference
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

from ashchat_core import topology
from ashchat_core.api.reasons import Reason
from ashchat_core.wording import counted
from ashchat_operator.backends.rabbitmq.desired import (
    Desired,
    VirtualHostState,
    account,
    password_matches,
)

POLICY_PRIORITY: Final = 100

_HARMLESS_ARGUMENTS: Final = ("x-queue-type", "x-quorum-initial-group-size")

_DEAD_STATES: Final = frozenset({"crashed", "down", "minority", "noproc", "stopped", "terminated"})


@dataclass(frozen=True, slots=True)
class Action:
    """One writing request, and a description of it."""

    method: str
    path: str
    description: str
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    names: Mapping[str, str] | None = None
    """The identifying fields in a definitions document; None: such a document cannot express it."""

    @property
    def entry(self) -> Mapping[str, Any] | None:
        """The entry in a definitions document; None: such a document cannot express it."""
        return None if self.names is None else {**self.names, **(self.body or {})}

    @property
    def kind(self) -> str:
        """The kind of object: a segment of the path, and a list of a definitions document."""
        return self.path.split("/")[2]


@dataclass(frozen=True, slots=True)
class Problem:
    """What the operator must not repair, and what the user can do."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The requests, in order, and what they cannot repair."""

    actions: tuple[Action, ...]
    problems: tuple[Problem, ...]


Definitions = Mapping[str, Sequence[Mapping[str, Any]]]
"""What must exist, by kind: https://www.rabbitmq.com/docs/definitions."""


def plan(wanted: Desired, state: VirtualHostState, admin: str) -> Plan:
    """Compare what is desired with what exists.

    The order is what a broker needs: users before permissions, queues and exchanges before
    bindings. Policies come before queues, so that no queue ever receives a message without its
    policy.

    Args:
        wanted: What must exist.
        state: What exists.
        admin: The name of the login; it needs permissions in the virtual host to declare.
    """
    actions: list[Action] = []
    if wanted.declare_users:
        actions += [*_vhost(wanted, state, admin), *_users(wanted, state)]
        actions += _permissions(wanted, state)
    problems: list[Problem] = []
    actions += _policies(wanted, state)
    for found in (_exchanges(wanted, state), _queues(wanted, state)):
        actions += found.actions
        problems += found.problems
    actions += _bindings(wanted, state)
    return Plan(tuple(actions), tuple(problems))


def api_path(*segments: str) -> str:
    """Return an API path; names may hold anything, so each segment is quoted whole."""
    return "/api/" + "/".join(quote(segment, safe="") for segment in segments)


def definitions(actions: Iterable[Action]) -> Definitions:
    """Return the definitions document that does the same as these actions, as far as possible.

    The broker imports users, virtual hosts, permissions, exchanges, policies, queues, bindings,
    in this order, regardless of that in the document:
    https://www.rabbitmq.com/docs/definitions#import
    """
    found: dict[str, list[Mapping[str, Any]]] = {}
    for action in actions:
        if action.entry is not None:
            found.setdefault(action.kind, []).append(action.entry)
    return found


def _vhost(wanted: Desired, state: VirtualHostState, admin: str) -> list[Action]:
    actions: list[Action] = []
    if state.vhost is None:
        path = api_path("vhosts", wanted.vhost)
        names = {"name": wanted.vhost}
        actions.append(Action("PUT", path, f"created virtual host {wanted.vhost}", {}, names))
    else:
        # A virtual host whose processes failed too often stays down: it is listed with its
        # queues, but every connection is refused (https://www.rabbitmq.com/docs/vhosts#failures).
        actions += [
            Action(
                "POST",
                api_path("vhosts", wanted.vhost, "start", node),
                f"started virtual host {wanted.vhost} on {node}, where it had failed",
            )
            for node, status in sorted((state.vhost.get("cluster_state") or {}).items())
            if status == "stopped"
        ]
    if admin not in state.permissions:
        # Declaring by HTTP opens a connection in that virtual host as the administrator.
        description = f"gave {admin} access to virtual host {wanted.vhost}"
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        actions.append(_permission(wanted.vhost, admin, description, everything))
    return actions


def _users(wanted: Desired, state: VirtualHostState) -> list[Action]:
    actions: list[Action] = []
    for login in wanted.logins:
        user = state.users.get(login.username)
        why = ""
        if user is None:
            why = f"created user {login.username}"
        elif not password_matches(
            login.password, str(user.get("password_hash", "")), str(user.get("hashing_algorithm"))
        ):
            why = f"set the password of user {login.username}"
        elif user.get("tags"):
            why = f"removed the tags of user {login.username}"
        if why:
            body, named = account(login.password, tags=""), {"name": login.username}
            actions.append(Action("PUT", api_path("users", login.username), why, body, named))
    names = {login.username for login in wanted.logins}
    # Deleting a user closes its connections, changing its password does not
    # (https://www.rabbitmq.com/docs/access-control#revoke).
    actions += [
        Action("DELETE", api_path("users", name), f"deleted retired user {name}")
        for name in wanted.retired
        if name in state.users and name not in names
    ]
    return actions


def _permissions(wanted: Desired, state: VirtualHostState) -> list[Action]:
    actions: list[Action] = []
    for login in wanted.logins:
        rights = topology.permissions(login.service)
        if rights is None:
            continue
        body = {"configure": rights.configure, "write": rights.write, "read": rights.read}
        found = state.permissions.get(login.username, {})
        if {key: found.get(key) for key in body} != body:
            description = f"set the permissions of {login.username}"
            actions.append(_permission(wanted.vhost, login.username, description, body))
    return actions


def _permission(vhost: str, user: str, description: str, body: Mapping[str, Any]) -> Action:
    names = {"vhost": vhost, "user": user}
    return Action("PUT", api_path("permissions", vhost, user), description, body, names)


def _in_vhost(
    kind: str, vhost: str, name: str, description: str, body: Mapping[str, Any]
) -> Action:
    names = {"vhost": vhost, "name": name}
    return Action("PUT", api_path(kind, vhost, name), description, body, names)


def _policies(wanted: Desired, state: VirtualHostState) -> list[Action]:
    actions: list[Action] = []
    for policy in wanted.policies:
        body = {
            "pattern": f"^{re.escape(policy.queue)}$",
            "apply-to": "queues",
            "priority": POLICY_PRIORITY,
            "definition": policy.definition,
        }
        found = state.policies.get(policy.name, {})
        if {key: found.get(key) for key in body} != body:
            description = f"set policy {policy.name}"
            actions.append(_in_vhost("policies", wanted.vhost, policy.name, description, body))
    # Only one policy applies to a queue
    # (https://www.rabbitmq.com/docs/policies#how-policies-work): another one that matches
    # would disable ours, immediately or when its priority is raised.
    ours = {policy.name for policy in wanted.policies}
    actions += [
        Action(
            "DELETE",
            api_path("policies", wanted.vhost, name),
            f"removed policy {name}, which shadowed the policies of our queues",
        )
        for name, policy in state.policies.items()
        if name not in ours and _shadows(policy, wanted.queues)
    ]
    return actions


def _shadows(policy: Mapping[str, Any], queues: tuple[str, ...]) -> bool:
    if policy.get("apply-to") not in {"all", "queues", "quorum_queues"}:
        return False
    try:
        pattern = re.compile(str(policy.get("pattern", "")))
    except re.error:
        return False  # PCRE supports more than `re`; such a pattern is not ours
    return any(pattern.search(name) for name in queues)


def _exchanges(wanted: Desired, state: VirtualHostState) -> Plan:
    actions: list[Action] = []
    problems: list[Problem] = []
    for name in wanted.exchanges:
        found = state.exchanges.get(name)
        if found is None:
            body = {"type": "direct", "durable": True, "auto_delete": False, "internal": False}
            description = f"declared exchange {name}"
            actions.append(_in_vhost("exchanges", wanted.vhost, name, description, body))
            continue
        wrong = [
            *([f"of type {found.get('type')}"] if found.get("type") != "direct" else []),
            *(["not durable"] if not found.get("durable") else []),
            *(["auto-deleting"] if found.get("auto_delete") else []),
            *(["internal"] if found.get("internal") else []),
        ]
        if wrong:
            problems.append(
                Problem(
                    Reason.EXCHANGE_INEQUIVALENT,
                    f"Exchange {name} in virtual host {wanted.vhost} is {' and '.join(wrong)}; "
                    "it must be a durable direct exchange, and the operator never deletes one. "
                    "Delete it on a RabbitMQ node; the operator then declares it and its bindings "
                    "again: "
                    f"{_delete_exchange(wanted.vhost, name)}",
                )
            )
    return Plan(tuple(actions), tuple(problems))


def _queues(wanted: Desired, state: VirtualHostState) -> Plan:
    actions: list[Action] = []
    problems: list[Problem] = []
    for name in wanted.queues:
        found = state.queues.get(name)
        if found is None:
            body = {
                "durable": True,
                "auto_delete": False,
                "arguments": {"x-queue-type": "quorum"},
            }
            description = f"declared queue {name}"
            actions.append(_in_vhost("queues", wanted.vhost, name, description, body))
        elif wrong := _wrong_with(found):
            holds = _emptied(name, found.get("messages") or 0)
            problems.append(
                Problem(
                    Reason.QUEUE_INEQUIVALENT,
                    f"Queue {name} in virtual host {wanted.vhost} is {' and '.join(wrong)}; it "
                    "must be a durable quorum queue without other arguments, and the "
                    f"operator never deletes one. {holds}Once it is empty, delete it on a "
                    "RabbitMQ node; the operator then declares it again: "
                    f"{_delete_queue(wanted.vhost, found)}",
                )
            )
        elif found.get("state") in _DEAD_STATES:
            problems.append(
                Problem(
                    Reason.BACKEND_STARTING,
                    f"Queue {name} is {found['state']}: a majority of its members must run. "
                    "Check the RabbitMQ pods.",
                )
            )
    return Plan(tuple(actions), tuple(problems))


def _emptied(name: str, messages: int) -> str:
    """Return how to empty a queue; nothing if it is empty."""
    if not messages:
        return ""
    if name.endswith(topology.DEAD_LETTER_SUFFIX):
        return f"It holds {counted(messages, 'message')}: kubectl ashchat dlq replay {name} --all. "
    return f"It holds {counted(messages, 'message')}, to be consumed by its consumers. "


def _delete_queue(vhost: str, queue: Mapping[str, Any]) -> str:
    """Return the command that deletes a queue.

    It refuses while there are messages, except for a quorum queue, which has no such condition.
    """
    condition = "" if _type_of(queue) == "quorum" else " --if-empty"
    return f"rabbitmqctl --vhost {vhost} delete_queue {queue['name']}{condition}"


def _delete_exchange(vhost: str, name: str) -> str:
    """Return the command that deletes an exchange, for which rabbitmqctl has no subcommand."""
    resource = f'rabbit_misc:r(<<"{vhost}">>, exchange, <<"{name}">>)'
    return f"""rabbitmqctl eval 'rabbit_exchange:delete({resource}, false, <<"operator">>).'"""


def _wrong_with(queue: Mapping[str, Any]) -> list[str]:
    kind, arguments = _type_of(queue), queue.get("arguments") or {}
    extra = sorted(set(arguments) - set(_HARMLESS_ARGUMENTS))
    return [
        *([f"a {kind} queue"] if kind != "quorum" else []),
        *(["not durable"] if not queue.get("durable") else []),
        *(["auto-deleting"] if queue.get("auto_delete") else []),
        *([f"declared with {', '.join(extra)}"] if extra else []),
    ]


def _type_of(queue: Mapping[str, Any]) -> str:
    arguments = queue.get("arguments") or {}
    return str(queue.get("type") or arguments.get("x-queue-type", "classic"))


def _bindings(wanted: Desired, state: VirtualHostState) -> list[Action]:
    actions: list[Action] = []
    there: set[topology.Binding] = set()
    for binding in state.bindings:
        source, kind = str(binding["source"]), str(binding["destination_type"])
        destination = str(binding["destination"])
        key = topology.Binding(source, destination, str(binding["routing_key"]))
        if source not in wanted.exchanges:
            continue  # bindings of the default exchange, and those of others
        if kind == "queue":
            if destination not in wanted.queues:
                continue  # bindings of reply queues and tests
            if key in wanted.bindings and not binding.get("arguments"):
                there.add(key)
                continue
        elif destination not in wanted.exchanges:
            continue
        actions.append(
            Action(
                "DELETE",
                api_path(
                    "bindings",
                    wanted.vhost,
                    "e",
                    source,
                    "q" if kind == "queue" else "e",
                    destination,
                    str(binding["properties_key"]),
                ),
                f"removed the binding of {destination} to {source} with key {key.routing_key!r}",
            )
        )
    actions += [_bind(wanted.vhost, binding) for binding in wanted.bindings if binding not in there]
    return actions


def _bind(vhost: str, binding: topology.Binding) -> Action:
    return Action(
        "POST",
        api_path("bindings", vhost, "e", binding.exchange, "q", binding.queue),
        f"bound {binding.queue} to {binding.exchange}",
        {"routing_key": binding.routing_key, "arguments": {}},
        {
            "vhost": vhost,
            "source": binding.exchange,
            "destination": binding.queue,
            "destination_type": "queue",
        },
    )
