"""RabbitMQ: declares the queue topology over the management HTTP API, and repairs it.

The table is `ashchat_core.topology`. Reading, comparing and writing are apart: `plan` is a
pure function from what is wanted and what is there to a list of HTTP requests.

Never deleted: a queue or an exchange, whatever is wrong with it. Left alone: queues that
are not in the table (the auth pods' own reply queues, somebody's test queue), bindings to
them, and other users. HTTP API: https://www.rabbitmq.com/docs/http-api-reference
"""

import base64
import binascii
import hashlib
import hmac
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final, Protocol, Self
from urllib.parse import quote, urlsplit

import httpx2

from ashchat_core import topology
from ashchat_operator.backends import connectivity
from ashchat_operator.backends.base import (
    Backend,
    BackendResult,
    FeatureMissingError,
    Login,
    LoginRefusedError,
    NotReadyYetError,
    Reason,
    RefusedError,
    RightMissingError,
    UnreachableError,
    logins_at,
    require_version,
    with_provided_login,
)
from ashchat_operator.kube.concurrency import gather_limited

MINIMUM_VERSION: Final = (3, 10)
"""The first with at-least-once dead-lettering and TTL in quorum queues."""

POLICY_PRIORITY: Final = 100

REQUEST_TIMEOUT_S: Final = 15.0
"""For one request; declaring a quorum queue on a busy node takes a few seconds."""

IMPORT_TIMEOUT_S: Final = 60.0
"""For a whole virtual host in one request."""

AT_A_TIME: Final = 8
"""So many requests are sent at a time."""

_SALT_BYTES: Final = 4
_SHA256: Final = "rabbit_password_hashing_sha256"
_HARMLESS_ARGUMENTS: Final = ("x-queue-type", "x-quorum-initial-group-size")
_DEAD_STATES: Final = frozenset({"crashed", "down", "minority", "noproc", "stopped", "terminated"})


@dataclass(frozen=True, slots=True)
class RabbitMQTarget:
    """Where the management API is, and who we are there (a user tagged administrator)."""

    management_url: str
    username: str
    password: str = field(repr=False)
    vhost: str = topology.VHOST
    declare_users: bool = True
    """False: the services use this very login; virtual host and users are somebody else's."""
    prefix: str = ""
    """Begins the names of the users."""
    amqp: connectivity.Address | None = None
    """Where the services connect to a broker that somebody else runs; None: ours."""


@dataclass(frozen=True, slots=True)
class Desired:
    """What a virtual host is to hold."""

    vhost: str
    exchanges: tuple[str, ...]
    queues: tuple[str, ...]
    bindings: tuple[topology.Binding, ...]
    policies: tuple[topology.Policy, ...]
    logins: tuple[Login, ...]
    retired: tuple[str, ...] = ()
    declare_users: bool = True


def desired(
    vhost: str,
    logins: Iterable[Login],
    retired: Iterable[str] = (),
    *,
    declare_users: bool = True,
) -> Desired:
    """Return what the table wants, with users for the services that log in to RabbitMQ."""
    return Desired(
        vhost=vhost,
        exchanges=topology.exchanges(),
        queues=topology.queues(),
        bindings=topology.bindings(),
        policies=topology.policies(),
        logins=tuple(
            login
            for login in logins_at(Backend.RABBITMQ, logins)
            if topology.permissions(login.service) is not None
        ),
        retired=tuple(retired),
        declare_users=declare_users,
    )


@dataclass(frozen=True, slots=True)
class State:
    """What was read from the broker, each kind by name; None for a virtual host not there."""

    vhost: Mapping[str, Any] | None
    version: str = ""
    """The server's."""
    exchanges: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    queues: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    bindings: tuple[Mapping[str, Any], ...] = ()
    policies: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    users: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    permissions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Permissions in this virtual host, by user."""


@dataclass(frozen=True, slots=True)
class Action:
    """One writing request, and what it does in words."""

    method: str
    path: str
    says: str
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    names: Mapping[str, str] | None = None
    """What names it in a definitions document; None: no entry of one would do it."""

    @property
    def entry(self) -> Mapping[str, Any] | None:
        """The same as an entry of a definitions document; None: no such entry would do it."""
        return None if self.names is None else {**self.names, **(self.body or {})}

    @property
    def kind(self) -> str:
        """What it is about: a segment of the path, and a list of a definitions document."""
        return self.path.split("/")[2]


@dataclass(frozen=True, slots=True)
class Problem:
    """What the operator may not repair, with what a person can do."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What to write, in order, and what cannot be repaired by writing."""

    actions: tuple[Action, ...]
    problems: tuple[Problem, ...]


Definitions = Mapping[str, Sequence[Mapping[str, Any]]]
"""What is to be there, by kind: https://www.rabbitmq.com/docs/definitions."""


class RabbitMQAdmin(Protocol):
    """A broker as the reconcile sees it."""

    username: str

    async def read(self, vhost: str) -> State:
        """Return everything that `plan` compares."""

    async def quorum_queues(self) -> bool:
        """Tell whether there are quorum queues."""

    async def define(self, definitions: Definitions) -> bool:
        """Carry out many actions at once; tell whether the broker took them."""

    async def perform(self, action: Action) -> None:
        """Carry out one action."""


def hash_password(password: str, salt: bytes | None = None) -> str:
    """Return RabbitMQ's form of a password: base64(salt + SHA-256(salt + password)).

    Source: https://www.rabbitmq.com/docs/passwords#computing-password-hash
    """
    salt = os.urandom(_SALT_BYTES) if salt is None else salt
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def account(
    password: str, *, tags: str | list[str], salt: bytes | None = None
) -> dict[str, str | list[str]]:
    """Return what a user is beside its name, for the HTTP API and for a definitions document."""
    return {
        "password_hash": hash_password(password, salt),
        "hashing_algorithm": _SHA256,
        "tags": tags,
    }


def password_matches(password: str, password_hash: str, algorithm: str) -> bool:
    """Tell whether a hash read back from the broker is this password's."""
    if algorithm != _SHA256:
        return False
    try:
        raw = base64.b64decode(password_hash, validate=True)
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(hash_password(password, raw[:_SALT_BYTES]), password_hash)


def plan(wanted: Desired, state: State, admin: str) -> Plan:
    """Compare what is wanted with what is there.

    The order is what a broker needs: users before permissions, queues and exchanges before
    bindings. Policies come before queues, so that no message ever meets a queue without one.

    Args:
        wanted: What is to be there.
        state: What is there.
        admin: The name we are logged in as; needs rights in the virtual host to declare.
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


def _path(*segments: str) -> str:
    """Return an API path; names may hold anything, so each segment is quoted whole."""
    return "/api/" + "/".join(quote(segment, safe="") for segment in segments)


def definitions(actions: Iterable[Action]) -> Definitions:
    """Return the definitions document that does what these actions do, as far as one can.

    The broker imports users, virtual hosts, permissions, exchanges, policies, queues, bindings,
    in this order and whatever that of the document:
    https://www.rabbitmq.com/docs/definitions#import
    """
    found: dict[str, list[Mapping[str, Any]]] = {}
    for action in actions:
        if action.entry is not None:
            found.setdefault(action.kind, []).append(action.entry)
    return found


def _vhost(wanted: Desired, state: State, admin: str) -> list[Action]:
    actions: list[Action] = []
    if state.vhost is None:
        path = _path("vhosts", wanted.vhost)
        names = {"name": wanted.vhost}
        actions.append(Action("PUT", path, f"created virtual host {wanted.vhost}", {}, names))
    else:
        # One whose processes failed too often stays down by itself: it is listed, its queues
        # too, but every connection is refused (https://www.rabbitmq.com/docs/vhosts#failures).
        actions += [
            Action(
                "POST",
                _path("vhosts", wanted.vhost, "start", node),
                f"started virtual host {wanted.vhost} on {node}, where it had failed",
            )
            for node, status in sorted((state.vhost.get("cluster_state") or {}).items())
            if status == "stopped"
        ]
    if admin not in state.permissions:
        # Declaring by HTTP opens a connection of the admin's in that virtual host.
        says = f"gave {admin} access to virtual host {wanted.vhost}"
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        actions.append(_permission(wanted.vhost, admin, says, everything))
    return actions


def _users(wanted: Desired, state: State) -> list[Action]:
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
            actions.append(Action("PUT", _path("users", login.username), why, body, named))
    names = {login.username for login in wanted.logins}
    # Deleting a user closes its connections, changing its password does not
    # (https://www.rabbitmq.com/docs/access-control#revoke).
    actions += [
        Action("DELETE", _path("users", name), f"deleted retired user {name}")
        for name in wanted.retired
        if name in state.users and name not in names
    ]
    return actions


def _permissions(wanted: Desired, state: State) -> list[Action]:
    actions: list[Action] = []
    for login in wanted.logins:
        rights = topology.permissions(login.service)
        if rights is None:
            continue
        body = {"configure": rights.configure, "write": rights.write, "read": rights.read}
        found = state.permissions.get(login.username, {})
        if {key: found.get(key) for key in body} != body:
            says = f"set the permissions of {login.username}"
            actions.append(_permission(wanted.vhost, login.username, says, body))
    return actions


def _permission(vhost: str, user: str, says: str, body: Mapping[str, Any]) -> Action:
    names = {"vhost": vhost, "user": user}
    return Action("PUT", _path("permissions", vhost, user), says, body, names)


def _in_vhost(kind: str, vhost: str, name: str, says: str, body: Mapping[str, Any]) -> Action:
    names = {"vhost": vhost, "name": name}
    return Action("PUT", _path(kind, vhost, name), says, body, names)


def _policies(wanted: Desired, state: State) -> list[Action]:
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
            says = f"set policy {policy.name}"
            actions.append(_in_vhost("policies", wanted.vhost, policy.name, says, body))
    # Only one policy applies to a queue
    # (https://www.rabbitmq.com/docs/policies#how-policies-work): another one that matches
    # would switch ours off, at once or as soon as somebody raises its priority.
    ours = {policy.name for policy in wanted.policies}
    actions += [
        Action(
            "DELETE",
            _path("policies", wanted.vhost, name),
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
        return False  # PCRE knows more than we do; such a pattern is not one of ours
    return any(pattern.search(name) for name in queues)


def _exchanges(wanted: Desired, state: State) -> Plan:
    actions: list[Action] = []
    problems: list[Problem] = []
    for name in wanted.exchanges:
        found = state.exchanges.get(name)
        if found is None:
            body = {"type": "direct", "durable": True, "auto_delete": False, "internal": False}
            says = f"declared exchange {name}"
            actions.append(_in_vhost("exchanges", wanted.vhost, name, says, body))
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
                    "it must be a durable direct exchange, and the operator deletes none. Delete "
                    "it on a RabbitMQ node, and the operator declares it and its bindings anew: "
                    f"{_delete_exchange(wanted.vhost, name)}",
                )
            )
    return Plan(tuple(actions), tuple(problems))


def _queues(wanted: Desired, state: State) -> Plan:
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
            says = f"declared queue {name}"
            actions.append(_in_vhost("queues", wanted.vhost, name, says, body))
        elif wrong := _wrong_with(found):
            holds = _emptied(name, found.get("messages") or 0)
            problems.append(
                Problem(
                    Reason.QUEUE_INEQUIVALENT,
                    f"Queue {name} in virtual host {wanted.vhost} is {' and '.join(wrong)}; it "
                    "must be a durable quorum queue without arguments of its own, and the "
                    f"operator deletes none. {holds}Once it is empty, delete it on a "
                    "RabbitMQ node, and the operator declares it anew: "
                    f"{_delete_queue(wanted.vhost, found)}",
                )
            )
        elif found.get("state") in _DEAD_STATES:
            problems.append(
                Problem(
                    Reason.NOT_READY_YET,
                    f"Queue {name} is {found['state']}: a majority of its members must run. "
                    "Look at the RabbitMQ pods.",
                )
            )
    return Plan(tuple(actions), tuple(problems))


def _emptied(name: str, messages: int) -> str:
    """Return how a queue becomes empty; nothing if it is."""
    if not messages:
        return ""
    if name.endswith(topology.DEAD_LETTER_SUFFIX):
        return f"It holds {messages} messages: kubectl ashchat dlq replay {name} --all. "
    return f"It holds {messages} messages, which its consumers take by themselves. "


def _delete_queue(vhost: str, queue: Mapping[str, Any]) -> str:
    """Return the command that deletes a queue.

    It refuses while there are messages, but for a quorum queue, which knows no such condition.
    """
    condition = "" if _type_of(queue) == "quorum" else " --if-empty"
    return f"rabbitmqctl --vhost {vhost} delete_queue {queue['name']}{condition}"


def _delete_exchange(vhost: str, name: str) -> str:
    """Return the command that deletes an exchange: rabbitmqctl has none of its own."""
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


def _bindings(wanted: Desired, state: State) -> list[Action]:
    actions: list[Action] = []
    there: set[topology.Binding] = set()
    for binding in state.bindings:
        source, kind = str(binding["source"]), str(binding["destination_type"])
        destination = str(binding["destination"])
        key = topology.Binding(source, destination, str(binding["routing_key"]))
        if source not in wanted.exchanges:
            continue  # the default exchange's, and what other people bind
        if kind == "queue":
            if destination not in wanted.queues:
                continue  # a reply queue's, a test's
            if key in wanted.bindings and not binding.get("arguments"):
                there.add(key)
                continue
        elif destination not in wanted.exchanges:
            continue
        actions.append(
            Action(
                "DELETE",
                _path(
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
        _path("bindings", vhost, "e", binding.exchange, "q", binding.queue),
        f"bound {binding.queue} to {binding.exchange}",
        {"routing_key": binding.routing_key, "arguments": {}},
        {
            "vhost": vhost,
            "source": binding.exchange,
            "destination": binding.queue,
            "destination_type": "queue",
        },
    )


class ManagementClient:
    """The management HTTP API; `async with` closes its connections."""

    def __init__(
        self, target: RabbitMQTarget, transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        self.username = target.username
        self._url = target.management_url.rstrip("/")
        self._target = target
        ca = target.amqp.ca if target.amqp is not None else None
        encrypted = self._url.startswith("https:")
        self._http = httpx2.AsyncClient(
            base_url=self._url,
            verify=connectivity.trust(ca or "") if encrypted else connectivity.no_trust(),
            auth=(target.username, target.password),
            transport=transport,
            trust_env=False,  # a proxy of the environment is not for our own backends
        )

    async def __aenter__(self) -> Self:
        """Return the client itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def read(self, vhost: str) -> State:
        """Read the version, the virtual host, and all users.

        Raises:
            BackendError: See `perform`.
        """
        paths = {
            "overview": _path("overview") + "?disable_stats=true",
            "exchanges": _path("exchanges", vhost),
            "queues": _path("queues", vhost) + "?disable_stats=true&enable_queue_totals=true",
            "bindings": _path("bindings", vhost),
            "policies": _path("policies", vhost),
        }
        if self._target.declare_users:
            paths["vhost"] = _path("vhosts", vhost)
            paths["users"] = _path("users")
            paths["permissions"] = _path("vhosts", vhost, "permissions")
            seen: Mapping[str, Any] = {}
        else:
            # One virtual host may be read by an administrator only, the list by everybody.
            seen = _by("name", await self._get(_path("vhosts"))).get(vhost, {})
            if not seen:
                raise RightMissingError(self._lacks("", f"sees no virtual host {vhost}"))

        async def get(what: str) -> Any:
            # The rest is missing where the virtual host is.
            return await self._get(
                paths[what], missing=None if what in {"overview", "users"} else []
            )

        found = dict(zip(paths, await gather_limited(get, paths, AT_A_TIME), strict=True))
        return State(
            vhost=found.get("vhost", seen) or None,
            version=str(found["overview"].get("rabbitmq_version", "")),
            exchanges=_by("name", found["exchanges"]),
            queues=_by("name", found["queues"]),
            bindings=tuple(found["bindings"]),
            policies=_by("name", found["policies"]),
            users=_by("name", found.get("users", [])),
            permissions=_by("user", found.get("permissions", [])),
        )

    async def quorum_queues(self) -> bool:
        """Tell whether there are quorum queues; what may not be asked is taken for granted."""
        response = await self._send("GET", _path("feature-flags"), None)
        if not response.is_success:
            return True
        flag = _by("name", response.json()).get("quorum_queue")
        return flag is None or flag.get("state") == "enabled"

    async def define(self, definitions: Definitions) -> bool:
        """Import a definitions document; tell whether the broker took it.

        Raises:
            UnreachableError: Nothing answers, or not in time.
        """
        response = await self._send(
            "POST", _path("definitions"), definitions, timeout_s=IMPORT_TIMEOUT_S
        )
        return response.is_success

    async def perform(self, action: Action) -> None:
        """Send one writing request; what is already gone counts as deleted.

        Raises:
            UnreachableError: Nothing answers, or not in time.
            LoginRefusedError: Name or password are not accepted, or lack the tag.
            NotReadyYetError: The node is still starting.
            RefusedError: Anything else that is not a success.
        """
        response = await self._send(action.method, action.path, action.body)
        if action.method == "DELETE" and response.status_code == httpx2.codes.NOT_FOUND:
            return
        await self._check(response, action.says)

    async def _get(self, path: str, *, missing: list[Any] | None = None) -> Any:
        response = await self._send("GET", path, None)
        if missing is not None and response.status_code == httpx2.codes.NOT_FOUND:
            return missing
        await self._check(response, "read " + path)
        return response.json()

    async def _send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        *,
        timeout_s: float = REQUEST_TIMEOUT_S,
    ) -> httpx2.Response:
        try:
            return await self._http.request(method, path, json=body, timeout=timeout_s)
        except httpx2.HTTPError as error:
            raise UnreachableError(
                f"RabbitMQ's management API at {self._url} does not answer "
                f"({type(error).__name__}). Is the pod running, and the management plugin enabled?"
            ) from error

    def _lacks(self, tags: str, what: str) -> str:
        name, vhost = self._target.username, self._target.vhost
        tag = "administrator" if self._target.declare_users else "policymaker"
        commands = [f"rabbitmqctl set_permissions -p {vhost} {name} '.*' '.*' '.*'"]
        if not {tag, "administrator"} & set(tags.split(",")):
            commands.insert(0, f"rabbitmqctl set_user_tags {name} {tag}")
        if self._target.declare_users:
            commands = commands[:1]
        hint = " Where the provider does not allow that, set users: Given."
        return (
            f"{name} of RabbitMQ at {self._url} {what}. Grant it: {'; '.join(commands)}."
            f"{hint if self._target.declare_users else ''}"
        )

    async def _refused_login(self, response: httpx2.Response, says: str) -> Exception:
        """Return what a 401 or 403 means: a wrong password and a lacking tag get the same."""
        who = await self._send("GET", _path("whoami"), None)
        if not who.is_success:
            return LoginRefusedError(
                f"RabbitMQ at {self._url} refuses the login of {self.username}, or the user "
                "lacks the tag management. Look at its Secret."
            )
        tags = who.json().get("tags", "")
        tags = tags if isinstance(tags, str) else ",".join(tags)
        said = _reason_of(response)
        return RightMissingError(
            self._lacks(tags, f"lacks a right to: {says}. {said}".rstrip(". "))
        )

    async def _check(self, response: httpx2.Response, says: str) -> None:
        status = response.status_code
        if response.is_success:
            return
        if status in {httpx2.codes.UNAUTHORIZED, httpx2.codes.FORBIDDEN}:
            raise await self._refused_login(response, says)
        if status >= httpx2.codes.INTERNAL_SERVER_ERROR:
            raise NotReadyYetError(
                f"RabbitMQ at {self._url} answered {status} to: {says}. It may still be starting."
            )
        raise RefusedError(
            f"RabbitMQ at {self._url} answered {status} to: {says}. {_reason_of(response)}".strip()
        )


def management_address(target: RabbitMQTarget) -> connectivity.Address:
    """Return where the management API is, for walking there by hand."""
    parts = urlsplit(target.management_url)
    ca = target.amqp.ca if target.amqp is not None else None
    encrypted = parts.scheme == "https"
    port = parts.port or (443 if encrypted else 80)
    return connectivity.Address(parts.hostname or "", port, (ca or "") if encrypted else None)


def _by(key: str, objects: list[dict[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {str(item[key]): item for item in objects}


def _reason_of(response: httpx2.Response) -> str:
    """Return the API's own reason; it names objects, never a password."""
    try:
        body = response.json()
    except ValueError:
        return ""
    return f"It said: {body.get('reason', '')}" if isinstance(body, dict) else ""


async def reconcile(client: RabbitMQAdmin, wanted: Desired, *, write: bool = True) -> BackendResult:
    """Bring a broker to what is wanted and read it back.

    Args:
        client: The broker.
        wanted: What is to be there.
        write: False only reports what would be written.

    Returns:
        Ready only if what was read back last is what is wanted.

    Raises:
        BackendError: The broker cannot be asked, or refused a request.
    """
    state, todo = await _look(client, wanted)
    require_version(
        "RabbitMQ",
        state.version,
        MINIMUM_VERSION,
        "quorum queues lack at-least-once dead-lettering",
    )
    changes = tuple(action.says for action in todo.actions)
    if not write and changes:
        return BackendResult(
            ready=False,
            reason=Reason.DRIFTED,
            message=f"RabbitMQ differs from the table in {len(changes)} points.",
            changes=changes,
            version=state.version,
        )
    if changes:
        state, todo = await _perform(client, wanted, state, todo)
        if todo.actions:
            raise NotReadyYetError(
                f"RabbitMQ took {len(changes)} changes, but still differs when read back: "
                f"{todo.actions[0].says}, for one. Something else may be changing it."
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
    declared = f"{len(wanted.queues)} queues, {len(wanted.policies)} policies"
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
            f"{declared} and {len(wanted.logins)} users are as declared in virtual host "
            f"{wanted.vhost}."
        ),
        changes=changes,
        version=state.version,
        dead_letters=dead,
    )


async def _look(client: RabbitMQAdmin, wanted: Desired) -> tuple[State, Plan]:
    """Return what is there, and what is left to do."""
    state = await client.read(wanted.vhost)
    return state, plan(wanted, state, client.username)


async def _perform(
    client: RabbitMQAdmin, wanted: Desired, state: State, todo: Plan
) -> tuple[State, Plan]:
    """Carry out what is planned; return what was read back, and what is left to do.

    A broker that lacks much imports it in one request, less work for both than one for each. If
    it does not take that, each request for itself tells which part it refuses.
    """
    if any(action.kind == "queues" for action in todo.actions) and not await client.quorum_queues():
        raise FeatureMissingError(
            f"RabbitMQ {state.version} has its quorum queues switched off. Switch them on: "
            "rabbitmqctl enable_feature_flag quorum_queue"
        )
    many = sum(action.names is not None for action in todo.actions) > AT_A_TIME
    if many and wanted.declare_users and await client.define(definitions(todo.actions)):
        state, todo = await _look(client, wanted)
        if not todo.actions:
            return state, todo
    for _, stage in groupby(todo.actions, key=lambda action: action.kind):
        await gather_limited(client.perform, stage, AT_A_TIME)
    return await _look(client, wanted)
