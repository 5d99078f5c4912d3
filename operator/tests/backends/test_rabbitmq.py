"""The comparison of a broker with the declared topology: pure, so each drift is a short test."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ashchat_core import topology
from ashchat_core.api.reasons import Reason
from ashchat_core.topology import Queue, Service
from ashchat_operator.backends.base import (
    Login,
    LoginRefusedError,
    RefusedError,
    StartingError,
    UnreachableError,
    VersionTooOldError,
)
from ashchat_operator.backends.rabbitmq.client import ManagementClient
from ashchat_operator.backends.rabbitmq.desired import (
    RabbitMQTarget,
    VirtualHostState,
    desired,
    hash_password,
    password_matches,
)
from ashchat_operator.backends.rabbitmq.plan import Action, Definitions, plan
from ashchat_operator.backends.rabbitmq.reconcile import reconcile

ADMIN = "admin"
LOGINS = tuple(Login(service, f"{service}-a", f"secret-of-{service}") for service in Service)
WANTED = desired("ashchat", LOGINS)
EMPTY = VirtualHostState(vhost=None)


class FakeBroker:
    """A broker that stores what is declared, in the shapes of the management API."""

    username = ADMIN

    def __init__(self, state: VirtualHostState = EMPTY, version: str = "4.0.5") -> None:
        self.state = replace(state, version=version)
        self.performed: list[Action] = []
        self.imported: list[Definitions] = []
        self.forgets = False
        self.knows_quorum = True
        self.imports = True

    async def quorum_queues(self) -> bool:
        return self.knows_quorum

    async def read(self, vhost: str) -> VirtualHostState:
        assert vhost == "ashchat"
        return self.state

    async def define(self, definitions: Definitions) -> bool:
        self.imported.append(definitions)
        if self.imports and not self.forgets:
            for kind, entries in definitions.items():
                for entry in entries:
                    self.state = _imported(self.state, kind, entry)
        return self.imports

    async def perform(self, action: Action) -> None:
        self.performed.append(action)
        if not self.forgets:
            self.state = _after(self.state, action)


def _after(state: VirtualHostState, action: Action) -> VirtualHostState:
    kind, *rest = [unquote(part) for part in action.path.removeprefix("/api/").split("/")]
    body = dict(action.body or {})
    name = rest[-1]
    if kind == "bindings":
        if action.method == "POST":
            made = {
                "source": rest[2],
                "destination_type": "queue",
                "destination": rest[4],
                "routing_key": body["routing_key"],
                "arguments": {},
                "properties_key": body["routing_key"],
            }
            return replace(state, bindings=(*state.bindings, made))
        kept = tuple(
            x
            for x in state.bindings
            if (x["source"], x["destination"], x["properties_key"]) != (rest[2], rest[4], rest[5])
        )
        return replace(state, bindings=kept)
    if kind == "vhosts" and "start" in rest:
        return replace(state, vhost={"cluster_state": {name: "running"}})
    if kind == "vhosts":
        return replace(state, vhost={"name": name})
    if kind == "queues":
        body["type"] = "quorum"
    if kind == "users":
        body["tags"] = []
    objects: dict[str, Mapping[str, Any]] = {**getattr(state, kind)}
    if action.method == "DELETE":
        objects.pop(name)
    else:
        objects[name] = {"name": name, **body}
    changed: dict[str, Any] = {kind: objects}
    return replace(state, **changed)


def _imported(state: VirtualHostState, kind: str, entry: Mapping[str, Any]) -> VirtualHostState:
    if kind == "vhosts":
        return replace(state, vhost=entry)
    if kind == "bindings":
        made = {**entry, "properties_key": entry["routing_key"]}
        return replace(state, bindings=(*state.bindings, made))
    if kind == "queues":
        entry = {**entry, "type": "quorum"}
    name = entry["user" if kind == "permissions" else "name"]
    changed: dict[str, Any] = {kind: {**getattr(state, kind), name: entry}}
    return replace(state, **changed)


@pytest.fixture
async def declared() -> FakeBroker:
    fake = FakeBroker()
    await reconcile(fake, WANTED)
    fake.imported.clear()
    return fake


async def test_an_empty_broker_is_declared_once_and_then_not_written() -> None:
    fake = FakeBroker()
    result = await reconcile(fake, WANTED)
    assert result.ready
    assert result.reason is Reason.DECLARED
    assert set(fake.state.queues) == set(topology.queues())
    assert set(fake.state.exchanges) == set(topology.exchanges())
    assert len(fake.state.bindings) == len(topology.bindings())
    assert set(fake.state.users) == {"auth-a", "chat-a", "email-a", "static-a", "translate-a"}
    (whole,) = fake.imported
    assert len(result.changes) == sum(len(entries) for entries in whole.values())
    assert fake.performed == []

    fake.imported.clear()
    again = await reconcile(fake, WANTED)
    assert again.ready
    assert (again.changes, fake.imported, fake.performed) == ((), [], [])


async def test_a_broker_that_rejects_imports_gets_individual_requests() -> None:
    fake, whole = FakeBroker(), FakeBroker()
    fake.imports = False
    result = await reconcile(fake, WANTED)
    assert result.ready
    assert len(result.changes) == len(fake.performed)
    # The result is the same either way, except for the salts of the passwords.
    await reconcile(whole, WANTED)
    assert plan(WANTED, fake.state, ADMIN) == plan(WANTED, whole.state, ADMIN)
    assert fake.state.queues.keys() == whole.state.queues.keys()


async def test_the_rest_is_declared_after_an_import(declared: FakeBroker) -> None:
    # Much is missing, and one policy must be removed.
    stray = {"pattern": ".*", "apply-to": "queues", "priority": 999, "definition": {}}
    declared.state = replace(
        declared.state, queues={}, bindings=(), policies={**declared.state.policies, "x": stray}
    )
    result = await reconcile(declared, WANTED)
    assert result.ready
    (document,) = declared.imported
    assert document.keys() == {"queues", "bindings"}
    assert [action.description for action in declared.performed] == [
        "removed policy x, which shadowed the policies of our queues"
    ]


async def test_a_small_drift_is_repaired_without_an_import(declared: FakeBroker) -> None:
    declared.state = replace(declared.state, bindings=declared.state.bindings[1:])
    assert (await reconcile(declared, WANTED)).ready
    assert (len(declared.performed), declared.imported) == (1, [])


async def test_a_dry_run_reports_what_it_would_do() -> None:
    fake = FakeBroker()
    result = await reconcile(fake, WANTED, write=False)
    assert (result.ready, result.reason) == (False, Reason.DRIFTED)
    assert "declared queue TRANSLATE_QUEUE" in result.changes
    assert fake.performed == []


def without(objects: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in objects.items() if key != name}


async def repaired(fake: FakeBroker) -> list[str]:
    result = await reconcile(fake, WANTED)
    assert result.ready, result.message
    assert plan(WANTED, fake.state, ADMIN).actions == ()
    return list(result.changes)


async def test_a_deleted_queue_is_recreated_with_its_binding(declared: FakeBroker) -> None:
    name = Queue.TRANSLATED.value
    bindings = tuple(x for x in declared.state.bindings if x["destination"] != name)
    declared.state = replace(
        declared.state, queues=without(declared.state.queues, name), bindings=bindings
    )
    assert await repaired(declared) == [f"declared queue {name}", f"bound {name} to translate"]


async def test_a_virtual_host_that_failed_is_started(declared: FakeBroker) -> None:
    declared.state = replace(declared.state, vhost={"cluster_state": {"rabbit@pod-0": "stopped"}})
    assert await repaired(declared) == [
        "started virtual host ashchat on rabbit@pod-0, where it had failed"
    ]
    (action,) = declared.performed
    assert (action.method, action.path) == ("POST", "/api/vhosts/ashchat/start/rabbit%40pod-0")


async def test_a_deleted_exchange_is_recreated(declared: FakeBroker) -> None:
    declared.state = replace(declared.state, exchanges=without(declared.state.exchanges, "retry"))
    assert await repaired(declared) == ["declared exchange retry"]


async def test_an_additional_binding_between_our_objects_is_removed(declared: FakeBroker) -> None:
    stray = {
        "source": "chat",
        "destination_type": "queue",
        "destination": Queue.ACCOUNT_CREATION.value,
        "routing_key": "x",
        "arguments": {},
        "properties_key": "x",
    }
    joined = stray | {"source": "chat", "destination_type": "exchange", "destination": "auth"}
    declared.state = replace(declared.state, bindings=(*declared.state.bindings, stray, joined))
    todo = plan(WANTED, declared.state, ADMIN)
    assert [(x.method, x.path) for x in todo.actions] == [
        ("DELETE", "/api/bindings/ashchat/e/chat/q/ACCOUNT_CREATION_QUEUE/x"),
        ("DELETE", "/api/bindings/ashchat/e/chat/e/auth/x"),
    ]


async def test_reply_queues_and_foreign_queues_are_left_alone(declared: FakeBroker) -> None:
    reply = {"name": "auth.reply.pod-1", "type": "classic", "durable": False, "arguments": {}}
    theirs = reply | {"name": "test.x"}
    bound = {"destination_type": "queue", "arguments": {}, "routing_key": "", "properties_key": "~"}
    declared.state = replace(
        declared.state,
        queues={**declared.state.queues, "auth.reply.pod-1": reply, "test.x": theirs},
        bindings=(
            *declared.state.bindings,
            bound | {"source": "auth.replies", "destination": "auth.reply.pod-1"},
            bound | {"source": "auth", "destination": "test.x"},
            bound | {"source": "", "destination": Queue.TRANSLATE.value},
        ),
        users={**declared.state.users, "another-user": {"tags": ["monitoring"]}},
        permissions={**declared.state.permissions, "another-user": {"read": ".*"}},
    )
    assert await repaired(declared) == []


@pytest.mark.parametrize(
    ("wrong", "says", "condition"),
    [
        ({"type": "classic"}, "a classic queue", " --if-empty"),
        # RabbitMQ rejects a conditional deletion of a quorum queue.
        ({"durable": False}, "not durable", ""),
        ({"arguments": {"x-queue-type": "quorum", "x-message-ttl": 1}}, "with x-message-ttl", ""),
    ],
)
async def test_an_inequivalent_queue_is_reported_and_not_changed(
    declared: FakeBroker, wrong: dict[str, Any], says: str, condition: str
) -> None:
    name = Queue.TRANSLATE.value
    queue = {**declared.state.queues[name], "messages": 3, **wrong}
    declared.state = replace(
        declared.state,
        queues={**without(declared.state.queues, Queue.TRANSLATED.value), name: queue},
    )
    result = await reconcile(declared, WANTED)
    assert (result.ready, result.reason) == (False, Reason.QUEUE_INEQUIVALENT)
    assert says in result.message
    assert "3 messages" in result.message
    command = f"rabbitmqctl --vhost ashchat delete_queue {name}{condition}"
    assert result.message.endswith(command)
    # The rest is repaired anyway.
    assert result.changes == ("declared queue TRANSLATED_QUEUE",)
    assert declared.state.queues[name] == queue


async def test_an_inequivalent_exchange_is_reported(declared: FakeBroker) -> None:
    exchange = {**declared.state.exchanges["auth"], "type": "fanout"}
    declared.state = replace(
        declared.state, exchanges={**declared.state.exchanges, "auth": exchange}
    )
    result = await reconcile(declared, WANTED)
    assert (result.ready, result.reason) == (False, Reason.EXCHANGE_INEQUIVALENT)
    assert "fanout" in result.message
    assert """rabbitmqctl eval 'rabbit_exchange:delete(""" in result.message
    assert declared.performed == []


async def test_a_queue_without_a_majority_is_not_ready(declared: FakeBroker) -> None:
    name = Queue.CHANGE_PASSWORD.value
    queue = {**declared.state.queues[name], "state": "minority"}
    declared.state = replace(declared.state, queues={**declared.state.queues, name: queue})
    result = await reconcile(declared, WANTED)
    assert (result.ready, result.reason) == (False, Reason.BACKEND_STARTING)


async def test_a_changed_policy_is_reset(declared: FakeBroker) -> None:
    name = Queue.TRANSLATE.value
    policy = {**declared.state.policies[name], "definition": {"max-length": 1}}
    declared.state = replace(declared.state, policies={**declared.state.policies, name: policy})
    assert await repaired(declared) == [f"set policy {name}"]


async def test_a_policy_that_shadows_ours_is_removed_and_another_is_not(
    declared: FakeBroker,
) -> None:
    policy = {"pattern": "", "apply-to": "all", "priority": 999, "definition": {"max-length": 1}}
    declared.state = replace(
        declared.state,
        policies={
            **declared.state.policies,
            "everything": policy,
            "tests": policy | {"pattern": r"^test\."},
            "exchanges": policy | {"apply-to": "exchanges"},
            "unreadable": policy | {"pattern": "(?|a|b)"},
        },
    )
    assert await repaired(declared) == [
        "removed policy everything, which shadowed the policies of our queues"
    ]


async def test_permissions_password_and_tags_are_reset(declared: FakeBroker) -> None:
    users = dict(declared.state.users)
    users["auth-a"] = {**users["auth-a"], "password_hash": hash_password("guessed")}
    users["chat-a"] = {**users["chat-a"], "tags": ["administrator"]}
    permissions = dict(declared.state.permissions)
    permissions["email-a"] = {**permissions["email-a"], "read": ".*"}
    declared.state = replace(declared.state, users=users, permissions=permissions)
    assert await repaired(declared) == [
        "set the password of user auth-a",
        "removed the tags of user chat-a",
        "set the permissions of email-a",
    ]


async def test_a_deleted_user_is_recreated_with_permissions(declared: FakeBroker) -> None:
    declared.state = replace(
        declared.state,
        users=without(declared.state.users, "chat-a"),
        permissions=without(declared.state.permissions, "chat-a"),
    )
    assert await repaired(declared) == ["created user chat-a", "set the permissions of chat-a"]


async def test_two_generations_coexist_until_one_is_retired(
    declared: FakeBroker,
) -> None:
    both = (*LOGINS, Login(Service.CHAT, "chat-b", "another"))
    await reconcile(declared, desired("ashchat", both))
    assert (
        declared.state.permissions["chat-b"]["read"]
        == (declared.state.permissions["chat-a"]["read"])
    )
    only_b = tuple(login for login in both if login.username != "chat-a")
    result = await reconcile(declared, desired("ashchat", only_b, ("chat-a",)))
    assert result.changes == ("deleted retired user chat-a",)


def test_a_current_name_is_never_retired() -> None:
    state = VirtualHostState(vhost={}, users={"chat-a": {}})
    wanted = desired("ashchat", LOGINS, ("chat-a",))
    assert not [x for x in plan(wanted, state, ADMIN).actions if x.method == "DELETE"]


async def test_a_write_that_does_not_persist_is_not_reported_as_ready() -> None:
    fake = FakeBroker()
    fake.forgets = True
    with pytest.raises(StartingError, match="still differs"):
        await reconcile(fake, WANTED)


async def test_an_old_broker_is_rejected_before_any_write() -> None:
    fake = FakeBroker(version="3.9.29")
    with pytest.raises(VersionTooOldError, match=r"3\.10 or newer"):
        await reconcile(fake, WANTED)
    assert fake.performed == []


def test_displayed_text_contains_no_secret() -> None:
    shown = repr(plan(WANTED, EMPTY, ADMIN)) + repr(WANTED) + repr(LOGINS)
    assert "secret-of" not in shown
    assert "password_hash" not in shown


def test_the_hash_matches_the_documented_example() -> None:
    # The example in https://www.rabbitmq.com/docs/passwords#computing-password-hash
    assert hash_password("test12", bytes.fromhex("908DC60A")) == (
        "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR"
    )


@given(st.text(), st.text(), st.binary(min_size=4, max_size=4))
def test_a_hash_matches_only_its_password(password: str, other: str, salt: bytes) -> None:
    read_back = hash_password(password, salt)
    algorithm = "rabbit_password_hashing_sha256"
    assert password_matches(password, read_back, algorithm)
    assert password_matches(other, read_back, algorithm) is (other == password)


@given(st.text())
def test_any_stored_hash_can_be_compared(stored: str) -> None:
    assert not password_matches("x", stored, "rabbit_password_hashing_sha256")


def test_a_hash_of_another_algorithm_never_matches() -> None:
    digest = base64.b64encode(b"salt" + hashlib.sha512(b"saltx").digest()).decode()
    assert not password_matches("x", digest, "rabbit_password_hashing_sha512")


TARGET = RabbitMQTarget("http://127.0.0.1:15672/", ADMIN, "admin-secret")


def answering(status: int, body: Any = None) -> ManagementClient:
    transport = httpx2.MockTransport(lambda _: httpx2.Response(status, json=body))
    return ManagementClient(TARGET, transport)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, LoginRefusedError),
        (503, StartingError),
        (400, RefusedError),
        (404, RefusedError),  # no management API
    ],
)
async def test_a_refusal_has_an_error_and_names_the_server(
    status: int, error: type[Exception]
) -> None:
    async with answering(status, {"reason": "because"}) as client:
        with pytest.raises(error) as caught:
            await client.read("ashchat")
    assert "http://127.0.0.1:15672" in str(caught.value)
    assert "admin-secret" not in str(caught.value)


async def test_a_missing_virtual_host_is_read_as_none() -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        path = request.url.path
        if path == "/api/overview":
            return httpx2.Response(200, json={"rabbitmq_version": "4.1.2"})
        if path == "/api/users":
            return httpx2.Response(200, json=[{"name": ADMIN}])
        return httpx2.Response(404, json={"error": "Object Not Found"})

    async with ManagementClient(TARGET, httpx2.MockTransport(answer)) as client:
        state = await client.read("ashchat")
    assert state == VirtualHostState(vhost=None, version="4.1.2", users={ADMIN: {"name": ADMIN}})


@pytest.mark.parametrize("status", [400, 401, 403, 404, 500])
async def test_a_refused_import_is_not_an_error(status: int) -> None:
    async with answering(status) as client:
        assert not await client.define({"queues": []})


async def test_deleting_a_missing_object_succeeds() -> None:
    async with answering(404) as client:
        await client.perform(Action("DELETE", "/api/users/x", "deleted x"))


async def test_a_refused_connection_is_unreachable() -> None:
    def refuse(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("refused", request=request)

    async with ManagementClient(TARGET, httpx2.MockTransport(refuse)) as client:
        with pytest.raises(UnreachableError, match="does not answer"):
            await client.read("ashchat")


async def test_dead_letters_are_reported_with_a_provided_login_too() -> None:
    given = desired("ashchat", (), declare_users=False)
    fake = FakeBroker()
    fake.username = "another-user"
    await reconcile(fake, given)
    found = await reconcile(fake, given)
    assert found.reason is Reason.LEAST_PRIVILEGE_NOT_ENFORCED
    assert found.ready
    assert not found.least_privilege
    assert "provided login another-user" in found.message
    assert found.dead_letters
    assert set(found.dead_letters.values()) == {0}
