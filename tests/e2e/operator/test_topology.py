"""The topology on real servers: declared, left unchanged, and repaired after each drift.

The tests have their own virtual host, users and databases on the AshChat's RabbitMQ, Redis and
MongoDB. If ASHCHAT_ADMIN_RABBITMQ_MANAGEMENT_URI and the other variables are set
(see docs/operations/run-without-kubernetes.md) the tests use those servers.
"""

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

import aio_pika
import httpx2
import pytest
import pytest_asyncio
from aiormq.exceptions import ChannelAccessRefused
from pymongo import AsyncMongoClient
from pymongo.errors import OperationFailure
from pymongo.monitoring import (
    CommandFailedEvent,
    CommandListener,
    CommandStartedEvent,
    CommandSucceededEvent,
)
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from ashchat_core import topology as table
from ashchat_core.api.reasons import Reason
from ashchat_core.topology import (
    AUTH_REPLIES_EXCHANGE,
    DELIVERY_LIMIT,
    MONGODB_DATABASES,
    Queue,
    Service,
)
from ashchat_dev.http import http_client
from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.waiting import until
from ashchat_e2e.servers import admin_environment, take_away, username
from ashchat_operator.backends.addresses import rabbitmq_uri
from ashchat_operator.backends.base import Backend, BackendResult, Login
from ashchat_operator.backends.ensure import Backends, ensure
from ashchat_operator.backends.mongodb.desired import MongoDBTarget
from ashchat_operator.backends.rabbitmq.client import ManagementClient
from ashchat_operator.backends.rabbitmq.desired import desired
from ashchat_operator.backends.rabbitmq.reconcile import reconcile
from ashchat_operator.topology_cli import Admin, read_admin


class CountingTransport(httpx2.AsyncBaseTransport):
    """The real transport; records writes."""

    def __init__(self) -> None:
        self._real = httpx2.AsyncHTTPTransport()
        self.writes: list[str] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.method != "GET":
            self.writes.append(f"{request.method} {request.url.path}")
        return await self._real.handle_async_request(request)

    async def aclose(self) -> None:
        await self._real.aclose()


class Commands(CommandListener):
    """Records the names of the commands that the driver sends."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    def started(self, event: CommandStartedEvent) -> None:
        self.sent.append(event.command_name)

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """Ignored."""

    def failed(self, event: CommandFailedEvent) -> None:
        """Ignored."""


@dataclass(frozen=True)
class Site:
    """The tests' resources on the servers, with access as the administrator and as a service."""

    admin: Admin
    backends: Backends
    management: httpx2.AsyncClient
    redis: Redis
    cache: Redis
    mongodb: AsyncMongoClient[dict[str, Any]]
    commands: Commands

    @property
    def vhost(self) -> str:
        return self.admin.rabbitmq.vhost

    def login(self, service: Service) -> Login:
        return next(login for login in self.backends.logins if login.service is service)

    def user(self, service: Service) -> str:
        return self.login(service).username

    async def ensure(self) -> dict[Backend, BackendResult]:
        return await ensure(self.backends)

    async def api(self, method: str, path: str, body: Any = None) -> Any:
        reply = await self.management.request(method, path, json=body)
        reply.raise_for_status()
        return reply.json() if reply.content else None

    async def recorded(self) -> Any:
        """Return all of our RabbitMQ objects; a password that is set again has a new salt."""
        users = await self.api("GET", "/api/users")
        ours = {login.username for login in self.backends.logins}
        definitions = await self.api("GET", f"/api/definitions/{self.vhost}")
        for kind in ("queues", "exchanges", "bindings", "policies"):
            definitions[kind].sort(key=str)
        return (
            definitions,
            sorted((user for user in users if user["name"] in ours), key=str),
            sorted(await self.api("GET", f"/api/vhosts/{self.vhost}/permissions"), key=str),
        )

    @asynccontextmanager
    async def amqp(self, service: Service) -> AsyncIterator[aio_pika.abc.AbstractConnection]:
        host, port = self.admin.amqp
        uri = rabbitmq_uri(host, self.login(service), port, self.vhost)
        connection = await aio_pika.connect(uri, timeout=10)
        async with connection:
            yield connection

    @asynccontextmanager
    async def redis_as(self, service: Service, password: str = "") -> AsyncIterator[Redis]:
        login = self.login(service)
        at = self.admin.cache if service is Service.TRANSLATE else self.admin.redis
        client = Redis(
            host=at.host,
            port=at.port,
            username=login.username,
            password=password or login.password,
            decode_responses=True,
            single_connection_client=True,
            retry=Retry(NoBackoff(), 0),  # the library retries a rejected login ten times
        )
        async with client:
            yield client


def _redis(target: Any) -> Redis:
    return Redis(
        host=target.host,
        port=target.port,
        username=target.username,
        password=target.password,
        decode_responses=True,
    )


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def site(cluster: Cluster) -> AsyncIterator[Site]:
    """Declare everything once; delete everything at the end."""
    name = f"test-{secrets.token_hex(3)}"
    async with AsyncExitStack() as stack:
        environment = await stack.enter_async_context(admin_environment(cluster))
        admin = read_admin(environment, name)
        commands = Commands()
        options = MappingProxyType({"event_listeners": [commands], "directConnection": True})
        admin = replace(admin, mongodb=replace(admin.mongodb, options=options))
        login = (admin.rabbitmq.username, admin.rabbitmq.password)
        management = http_client(admin.rabbitmq.management_url, auth=login, timeout=20)
        mongodb: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(
            admin.mongodb.host,
            admin.mongodb.port,
            username=admin.mongodb.username,
            password=admin.mongodb.password,
            directConnection=True,
            serverSelectionTimeoutMS=10_000,
        )
        made = Site(
            admin=admin,
            backends=Backends(
                logins=tuple(
                    Login(service, username(name, service), secrets.token_urlsafe(16))
                    for service in Service
                ),
                rabbitmq=admin.rabbitmq,
                redis=admin.redis,
                cache=admin.cache,
                mongodb=admin.mongodb,
            ),
            management=await stack.enter_async_context(management),
            redis=await stack.enter_async_context(_redis(admin.redis)),
            cache=await stack.enter_async_context(_redis(admin.cache)),
            mongodb=await stack.enter_async_context(mongodb),
            commands=commands,
        )
        try:
            # An existing server that happens to have our new name would invalidate these tests.
            assert name not in {one["name"] for one in await made.api("GET", "/api/vhosts")}
            results = await made.ensure()
            for result in results.values():
                assert result.ready, result.message
                assert result.changes
            yield made
        finally:
            await take_away(admin, name)


@pytest.fixture(autouse=True)
async def left_in_order(site: Site) -> AsyncIterator[None]:
    """Restore the declared state after each test."""
    yield
    for result in (await site.ensure()).values():
        assert result.ready, result.message


async def test_the_broker_matches_the_table(site: Site) -> None:
    queues = {x["name"]: x for x in await site.api("GET", f"/api/queues/{site.vhost}")}
    assert set(queues) == set(table.queues())
    for queue in queues.values():
        assert (queue["type"], queue["durable"]) == ("quorum", True)
        assert queue["arguments"] == {"x-queue-type": "quorum"}
    # Not only stored: effective for each queue.
    policies = {policy.queue: policy.definition for policy in table.policies()}

    async def in_force() -> bool:
        # The management plugin collects this every five seconds.
        queues = {x["name"]: x for x in await site.api("GET", f"/api/queues/{site.vhost}")}
        return all(
            queues[name].get("policy") == name
            and queues[name].get("effective_policy_definition") == definition
            for name, definition in policies.items()
        )

    await until(in_force, what="every queue's policy in effect", within=30)
    users = {x["name"]: x for x in await site.api("GET", "/api/users")}
    for service in Service:
        wanted = table.permissions(service)
        assert (site.user(service) in users) is (wanted is not None)
        if wanted is not None:
            assert users[site.user(service)]["tags"] == []


async def test_a_second_pass_writes_nothing(site: Site) -> None:
    transport = CountingTransport()
    before = await site.recorded()
    stats = [await one.info("commandstats") for one in (site.redis, site.cache)]
    site.commands.sent.clear()

    wanted = desired(site.vhost, site.backends.logins)
    async with ManagementClient(site.admin.rabbitmq, transport) as client:
        result = await reconcile(client, wanted)
    assert (result.ready, result.changes, transport.writes) == (True, (), [])
    for other in (await site.ensure()).values():
        assert (other.ready, other.changes) == (True, ())

    # Confirmed by the servers' own statistics.
    assert await site.recorded() == before
    for one, was in zip((site.redis, site.cache), stats, strict=True):
        now = await one.info("commandstats")
        for command in ("cmdstat_acl|setuser", "cmdstat_acl|deluser", "cmdstat_client|kill"):
            assert now.get(command, {}).get("calls") == was.get(command, {}).get("calls")
    assert set(site.commands.sent) <= {
        "buildInfo", "endSessions", "hello", "ismaster", "ping", "saslContinue",
        "saslStart", "usersInfo",
    }  # fmt: skip


Drift = Callable[[Site], Awaitable[Any]]


async def repaired(site: Site, backend: Backend, *says: str) -> BackendResult:
    """Run two passes: the first repairs, the second has nothing to do."""
    result = (await site.ensure())[backend]
    assert result.ready, result.message
    for words in says:
        assert any(words in change for change in result.changes), result.changes
    for again in (await site.ensure()).values():
        assert (again.ready, again.changes) == (True, ())
    return result


TRANSLATE = Queue.TRANSLATE.value
QUEUE = "/api/queues/{vhost}/" + TRANSLATE
BINDING = "/api/bindings/{vhost}/e/chat/q/" + TRANSLATE
POLICY = "/api/policies/{vhost}/" + TRANSLATE
EVERYTHING = {"configure": ".*", "write": ".*", "read": ".*"}

BROKER_DRIFTS: dict[str, tuple[str, str, Any, str]] = {
    "queue deleted": ("DELETE", QUEUE, None, f"declared queue {TRANSLATE}"),
    "exchange deleted": ("DELETE", "/api/exchanges/{vhost}/retry", None, "declared exchange retry"),
    "binding removed": ("DELETE", f"{BINDING}/{TRANSLATE}", None, f"bound {TRANSLATE} to chat"),
    "binding added": ("POST", BINDING, {"routing_key": "more"}, "removed the binding"),
    "policy changed": (
        "PUT",
        POLICY,
        {"pattern": f"^{TRANSLATE}$", "apply-to": "queues", "definition": {"max-length": 1}},
        f"set policy {TRANSLATE}",
    ),
    "policy deleted": ("DELETE", POLICY, None, f"set policy {TRANSLATE}"),
    "policy on top": (
        "PUT",
        "/api/policies/{vhost}/mine",
        {"pattern": ".*", "apply-to": "all", "priority": 9999, "definition": {"expires": 600000}},
        "removed policy mine",
    ),
    "permissions widened": ("PUT", "/api/permissions/{vhost}/{user}", EVERYTHING, "permissions of"),
    "permissions taken": ("DELETE", "/api/permissions/{vhost}/{user}", None, "permissions of"),
    "password changed": (
        "PUT",
        "/api/users/{user}",
        {"password": "guessed", "tags": ""},
        "set the password of",
    ),
    "made administrator": (
        "PUT",
        "/api/users/{user}",
        {"password": "guessed", "tags": "administrator"},
        "set the password of",
    ),
    "user deleted": ("DELETE", "/api/users/{user}", None, "created user"),
    "administrator locked out": ("DELETE", "/api/permissions/{vhost}/{admin}", None, "access to"),
    "all deleted": ("DELETE", "/api/vhosts/{vhost}", None, "created virtual host"),
}


@pytest.mark.parametrize("drift", BROKER_DRIFTS)
async def test_the_broker_is_repaired(site: Site, drift: str) -> None:
    method, path, body, says = BROKER_DRIFTS[drift]
    names = {"user": site.user(Service.CHAT), "admin": site.admin.rabbitmq.username}
    await site.api(method, path.format(vhost=site.vhost, **names), body)
    await repaired(site, Backend.RABBITMQ, says)
    async with site.amqp(Service.CHAT) as connection:
        channel = await connection.channel()
        await channel.declare_queue(Queue.TRANSLATED, passive=True)


async def test_a_queue_of_the_wrong_type_is_reported_and_keeps_its_messages(site: Site) -> None:
    await site.api("DELETE", QUEUE.format(vhost=site.vhost))
    body = {"durable": True, "arguments": {"x-queue-type": "classic"}}
    await site.api("PUT", QUEUE.format(vhost=site.vhost), body)
    message = {
        "routing_key": TRANSLATE,
        "payload": "kept",
        "payload_encoding": "string",
        "properties": {"delivery_mode": 2},
    }
    await site.api("POST", f"/api/exchanges/{site.vhost}/amq.default/publish", message)
    result = (await site.ensure())[Backend.RABBITMQ]
    assert (result.ready, result.reason) == (False, Reason.QUEUE_INEQUIVALENT)
    assert TRANSLATE in result.message
    assert "classic" in result.message

    get = {"count": 1, "ackmode": "ack_requeue_false", "encoding": "auto"}
    (kept,) = await site.api("POST", f"{QUEUE.format(vhost=site.vhost)}/get", get)
    assert kept["payload"] == "kept"
    await site.api("DELETE", QUEUE.format(vhost=site.vhost))
    await repaired(site, Backend.RABBITMQ, f"declared queue {TRANSLATE}")


async def test_queues_and_bindings_of_others_are_left_alone(site: Site) -> None:
    name = "test.foreign"
    path = f"/api/queues/{site.vhost}/{name}"
    await site.api("PUT", path, {"durable": False, "auto_delete": True})
    binding = f"/api/bindings/{site.vhost}/e/auth/q/{name}"
    await site.api("POST", binding, {"routing_key": Queue.ACCOUNT_CREATION.value})
    await repaired(site, Backend.RABBITMQ)
    assert await site.api("GET", binding)
    await site.api("DELETE", path)


async def test_auth_receives_its_response_on_its_own_queue(site: Site) -> None:
    async with site.amqp(Service.AUTH) as auth, site.amqp(Service.CHAT) as chat:
        listening = await auth.channel()
        own = await listening.declare_queue("auth.reply.pod-1", exclusive=True, durable=False)
        await own.bind(AUTH_REPLIES_EXCHANGE, "pod-1")
        answering = await chat.channel()
        replies = await answering.get_exchange(AUTH_REPLIES_EXCHANGE, ensure=False)
        await replies.publish(aio_pika.Message(b"yes"), "pod-1")
        reply = await until(
            lambda: own.get(no_ack=True, fail=False), what="the response", within=10
        )
        assert reply.body == b"yes"


async def test_auth_declares_nothing_else(site: Site) -> None:
    async with site.amqp(Service.AUTH) as auth:
        channel = await auth.channel()
        with pytest.raises(ChannelAccessRefused):
            await channel.declare_queue("auth", exclusive=True)
        channel = await auth.channel()
        with pytest.raises(ChannelAccessRefused):
            await channel.declare_queue("auth.replies.x", exclusive=True)


@pytest.mark.parametrize("service", [x for x in Service if table.permissions(x) is not None])
async def test_services_cannot_publish_to_the_default_exchange(
    site: Site, service: Service
) -> None:
    async with site.amqp(service) as connection:
        channel = await connection.channel()
        with pytest.raises(ChannelAccessRefused, match=r"amq\.default|default exchange"):
            await channel.default_exchange.publish(aio_pika.Message(b"x"), TRANSLATE)


async def test_chat_cannot_read_emails_queues_or_write_to_auths_exchange(
    site: Site,
) -> None:
    emails = [spec for spec in table.QUEUES if spec.reader is Service.EMAIL]
    names = [name for spec in emails for name in (spec.name.value, spec.dead)]
    async with site.amqp(Service.CHAT) as connection:
        for name in names:
            channel = await connection.channel()
            queue = await channel.get_queue(name, ensure=False)
            with pytest.raises(ChannelAccessRefused, match=name):
                await queue.get(fail=False)
        for name in ("auth", "email", "dead-letter", "retry"):
            channel = await connection.channel()
            exchange = await channel.get_exchange(name, ensure=False)
            with pytest.raises(ChannelAccessRefused, match=name):
                await exchange.publish(aio_pika.Message(b"x"), TRANSLATE)


@asynccontextmanager
async def sent_to_email(
    site: Site, name: Queue, body: bytes
) -> AsyncIterator[aio_pika.abc.AbstractQueue]:
    """Publish as auth; yield the queue as email sees it."""
    async with site.amqp(Service.AUTH) as auth, site.amqp(Service.EMAIL) as email:
        sending = await auth.channel(publisher_confirms=True, on_return_raises=True)
        exchange = await sending.get_exchange("auth", ensure=False)
        await exchange.publish(aio_pika.Message(body), name)
        yield await (await email.channel()).get_queue(name, ensure=False)


async def dead_letter(site: Site, name: Queue) -> Any:
    """Return a dead letter of a queue; empty if there is none."""
    get = {"count": 1, "ackmode": "ack_requeue_false", "encoding": "auto"}
    return await site.api("POST", f"/api/queues/{site.vhost}/{quote(name + '.dead')}/get", get)


async def test_a_message_is_routed_and_a_rejected_one_is_dead_lettered(site: Site) -> None:
    name = Queue.ACCOUNT_CREATION
    async with sent_to_email(site, name, b"hello") as queue:
        message = await until(
            lambda: queue.get(fail=False), what="the message delivered", within=10
        )
        assert message.body == b"hello"
        await message.reject(requeue=False)
        (letter,) = await until(lambda: dead_letter(site, name), what="the dead letter", within=15)
        assert letter["payload"] == "hello"


async def test_a_message_that_is_never_acknowledged_is_dead_lettered(site: Site) -> None:
    name = Queue.ACCOUNT_CREATION
    async with sent_to_email(site, name, b"poison") as queue:
        tries = 0

        async def given_up() -> Any:
            nonlocal tries
            if (message := await queue.get(fail=False)) is not None:
                tries += 1
                await message.reject(requeue=True)
                return None
            return await dead_letter(site, name)

        (letter,) = await until(given_up, within=30, every=0.01, what="the message dead-lettered")
        assert letter["payload"] == "poison"
        assert tries == DELIVERY_LIMIT + 1


async def test_a_retired_login_is_disconnected_everywhere(site: Site) -> None:
    login = site.login(Service.CHAT)
    second = replace(login, username=login.username.removesuffix("-a") + "-b")
    both = replace(site.backends, logins=(*site.backends.logins, second))
    assert all(result.ready for result in (await ensure(both)).values())
    host, port = site.admin.amqp
    connection = await aio_pika.connect(rabbitmq_uri(host, second, port, site.vhost))
    closed = asyncio.Event()
    connection.close_callbacks.add(lambda *_: closed.set())

    results = await ensure(replace(site.backends, retired=(second.username,)))
    changed = [backend for backend, result in results.items() if result.changes]
    assert changed == [Backend.RABBITMQ, Backend.REDIS, Backend.CACHE, Backend.MONGODB]
    await asyncio.wait_for(closed.wait(), 10)
    await connection.close()


REFUSED = re.compile("no permissions|can't access", re.IGNORECASE)


async def send(client: Redis, *command: str) -> Any:
    """Send a command given as words."""
    return await client.execute_command(*command)  # type: ignore[no-untyped-call]


async def test_redis_users_reach_their_own_keys_only(site: Site) -> None:
    own, foreign = f"chat:{site.vhost}", f"auth:{site.vhost}"
    async with site.redis_as(Service.CHAT) as chat:
        await chat.set(own, "x", ex=60)
        assert await chat.eval("return redis.call('GET', KEYS[1])", 1, own) == "x"
        assert await chat.publish(own, "x") == 0
        for refused in (
            ("GET", foreign),
            ("SET", foreign, "x"),
            ("EVAL", "return redis.call('GET', ARGV[1])", "0", foreign),
            ("PUBLISH", foreign, "x"),
            ("SCAN", "0"),
            ("KEYS", "*"),
            ("FLUSHALL",),
            ("FLUSHDB",),
            ("CONFIG", "GET", "*"),
            ("ACL", "LIST"),
            ("CLIENT", "LIST"),
            ("SCRIPT", "FLUSH"),
            ("FUNCTION", "FLUSH"),
            ("PUBSUB", "CHANNELS"),
        ):
            with pytest.raises(ResponseError, match=REFUSED):
                await send(chat, *refused)
        await chat.delete(own)


async def test_auth_has_no_channels(site: Site) -> None:
    async with site.redis_as(Service.AUTH) as auth:
        with pytest.raises(NoPermissionError):
            await auth.publish("auth:x", "x")


REDIS_DRIFTS: dict[str, tuple[str, ...]] = {
    "deleted": ("ACL", "DELUSER", "{user}"),
    "all keys": ("ACL", "SETUSER", "{user}", "~*"),
    "all commands": ("ACL", "SETUSER", "{user}", "+@all"),
    "all channels": ("ACL", "SETUSER", "{user}", "allchannels"),
    "a selector": ("ACL", "SETUSER", "{user}", "(+@all ~*)"),
    "switched off": ("ACL", "SETUSER", "{user}", "off"),
    "another password": ("ACL", "SETUSER", "{user}", "resetpass", ">guessed"),
    "a password more": ("ACL", "SETUSER", "{user}", ">guessed"),
    "no password": ("ACL", "SETUSER", "{user}", "nopass"),
}


@pytest.mark.parametrize("drift", REDIS_DRIFTS)
async def test_redis_is_repaired(site: Site, drift: str) -> None:
    user = site.user(Service.CHAT)
    before = await site.redis.acl_list()
    await send(site.redis, *(word.format(user=user) for word in REDIS_DRIFTS[drift]))
    assert await site.redis.acl_list() != before
    await repaired(site, Backend.REDIS, f"user {user}")
    assert sorted(await site.redis.acl_list()) == sorted(before)
    async with site.redis_as(Service.CHAT) as chat:
        assert await chat.ping()
    with pytest.raises(AuthenticationError):
        async with site.redis_as(Service.CHAT, "guessed") as guest:
            await guest.ping()


async def test_connections_with_a_removed_password_are_closed(site: Site) -> None:
    user = site.user(Service.CHAT)
    await site.redis.acl_setuser(user, enabled=True, passwords=["+guessed"])
    async with site.redis_as(Service.CHAT, "guessed") as guest:
        await guest.ping()
        number = await guest.client_id()
        await repaired(site, Backend.REDIS, f"set the password of user {user}")
        there = {int(one["id"]) for one in await site.redis.client_list()}
        assert number not in there
        with pytest.raises((AuthenticationError, RedisConnectionError)):
            await guest.ping()


async def test_the_database_is_repaired(site: Site) -> None:
    user = site.user(Service.CHAT)
    await site.mongodb.admin.command("updateUser", user, pwd="guessed-guessed")
    await repaired(site, Backend.MONGODB, f"set the password of user {user}")
    await site.mongodb.admin.command("dropUser", user)
    await repaired(site, Backend.MONGODB, f"created user {user}")


async def test_database_users_log_in_and_the_result_reports_their_permissions(
    site: Site,
) -> None:
    databases = site.admin.mongodb.databases
    assert set(databases) == set(MONGODB_DATABASES)
    login = site.login(Service.CHAT)
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(
        site.admin.mongodb.host,
        site.admin.mongodb.port,
        username=login.username,
        password=login.password,
        directConnection=True,
    )
    result = (await site.ensure())[Backend.MONGODB]
    async with client:
        own = client[databases[Service.CHAT]].things
        await own.insert_one({"_id": "x"})
        assert await own.find_one({}) == {"_id": "x"}
        foreign = client[databases[Service.AUTH]].things
        if result.least_privilege:
            with pytest.raises(OperationFailure):
                await foreign.find_one({})
        else:
            assert result.reason is Reason.LEAST_PRIVILEGE_NOT_ENFORCED
            assert "read and write all" in result.message


async def test_a_wrong_administrator_password_is_reported_but_not_shown(site: Site) -> None:
    wrong = "wrong-secret"
    results = await ensure(
        Backends(
            logins=site.backends.logins,
            rabbitmq=replace(site.admin.rabbitmq, password=wrong),
            redis=replace(site.admin.redis, password=wrong),
            mongodb=MongoDBTarget(
                site.admin.mongodb.host,
                site.admin.mongodb.port,
                site.admin.mongodb.username,
                wrong,
            ),
        )
    )
    for result in results.values():
        assert (result.ready, result.reason) == (False, Reason.LOGIN_REFUSED)
        assert wrong not in result.message
