"""Drift in the backends of an AshChat in use is repaired within 30 s.

`test_topology` shows that a single pass repairs each drift. This module shows when that pass
happens, on the AshChat's own virtual host and users, and that the services recover afterwards.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx2
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from ashchat_core import backoff
from ashchat_core.api.conditions import ConditionType
from ashchat_core.topology import VHOST, Queue, Service, bindings, policies, queues
from ashchat_dev.conversation import SENTENCES, messages_of
from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.kube.kubectl import CommandFailedError
from ashchat_dev.waiting import until
from ashchat_e2e.backends import RabbitManagement
from ashchat_e2e.history import History
from ashchat_e2e.outages import operator_away
from ashchat_e2e.people import PersonFactory
from ashchat_e2e.resilient_client import Steadfast

REPAIRED_S = 30.0
BACK_S = 2 * backoff.MAX_SECONDS + 5.0
"""Seconds from the repair until a service consumes again.

It may back off once before its session and once before its consumer.
"""

PACE_S = 0.2
Measure = Callable[[str, float], None]
Probe = Callable[[], Awaitable[bool]]


@pytest_asyncio.fixture(loop_scope="session")
async def users(cluster: Cluster) -> dict[Service, str]:
    """The name of each service's RabbitMQ user."""
    found = {}
    for service in Service:
        secret = await cluster.secret(f"{cluster.name}-{service}-credentials")
        if "rabbitmq.uri" in secret:
            parts = urlsplit(secret["rabbitmq.uri"].decode().strip())
            found[service] = unquote(parts.username or "")
    return found


class Talk:
    """Two users who exchange messages during the test."""

    def __init__(self, one: Steadfast, two: Steadfast, history: History) -> None:
        self.one, self.two, self.history = one, two, history
        self.sent: list[str] = []

    async def go_on(self, over: asyncio.Event) -> None:
        """Send messages until the event is set; finish a send that has begun."""
        while not over.is_set():
            self.sent.append(await self.one.send(SENTENCES["es"]))
            await asyncio.sleep(PACE_S)

    async def check(self) -> None:
        """Check that no message was lost, duplicated or reordered, and that translation resumes."""
        last = await self.one.send(SENTENCES["es"])
        await until(lambda: last in self.two.heard, within=30, what="the last message received")
        await until(
            lambda: last in self.two.translated, within=60, what="the last message translated"
        )
        self.history.read("Ben", self.one.chat_id, self.two.heard)
        kept = await messages_of(self.two.person, self.one.chat_id)
        self.history.read("Ben by HTTP", self.one.chat_id, [each["id"] for each in kept])
        self.history.check()
        assert self.history.counts["acknowledged"] == self.history.counts["sent"] >= 5


@asynccontextmanager
async def conversation(person: PersonFactory) -> AsyncIterator[Talk]:
    """Run a conversation until the end of the test, then check it."""
    ana, ben = await asyncio.gather(person("Ana", "es"), person("Ben", "en"))
    chat_id = await ana.open_chat(await ben.tag())
    history = History()
    async with Steadfast(ana, chat_id, history) as one, Steadfast(ben, chat_id, history) as two:
        talk = Talk(one, two, history)
        over = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(talk.go_on(over))
            try:
                yield talk
            finally:
                over.set()
        await talk.check()


async def get(rabbit: RabbitManagement, path: str) -> Any:
    """Return the object; None if it does not exist or the broker does not answer."""
    try:
        return await rabbit.get(path)
    except httpx2.HTTPError:
        return None


def there(rabbit: RabbitManagement, path: str, **wanted: Any) -> Probe:
    """Return a probe for an object with these fields at a path of the management API."""

    async def probe() -> bool:
        found = await get(rabbit, path)
        return found is not None and all(found[key] == value for key, value in wanted.items())

    return probe


def gone(rabbit: RabbitManagement, path: str) -> Probe:
    """Return a probe for the absence of an object at a path."""

    async def probe() -> bool:
        return await get(rabbit, path) is None

    return probe


def removed(rabbit: RabbitManagement, path: str) -> Probe:
    """Return a probe that deletes an object and checks that the broker confirmed the deletion."""

    async def probe() -> bool:
        with suppress(httpx2.TransportError):
            await rabbit.delete(path)
            return True
        return False

    return probe


async def wiped(cluster: Cluster) -> None:
    """Delete all of the broker's data, and wait until it is ready again."""
    (pod,) = await cluster.pods("rabbitmq")
    with suppress(CommandFailedError):  # the broker may exit at once, ending the exec
        await cluster.exec(pod, "sh", "-c", "rm -rf /var/lib/rabbitmq/mnesia", container="rabbitmq")
    await cluster.kill("rabbitmq")
    await until(lambda: cluster.pods("rabbitmq"), within=120, what="the broker ready")


def filled(rabbit: RabbitManagement) -> Probe:
    """Return a probe for the presence of all queues of the table."""

    async def all_there() -> bool:
        found = await get(rabbit, f"/api/queues/{VHOST}?disable_stats=true") or ()
        return set(queues()) <= {each["name"] for each in found}

    return all_there


async def timed(what: str, probe: Probe, began: float, measure: Measure) -> None:
    """Assert that drift is repaired in time."""
    await until(probe, within=REPAIRED_S, every=0.2, what=what)
    measure(f"drift: {what}", time.monotonic() - began)


async def read_again(rabbit: RabbitManagement, names: list[str]) -> None:
    """Assert that each queue has its consumer again."""

    async def probe() -> bool:
        readers = {
            consumer["queue"]["name"]
            for consumer in await get(rabbit, f"/api/consumers/{VHOST}") or ()
        }
        return set(names) <= readers

    await until(probe, within=BACK_S, what="every queue has a consumer again")


async def test_every_kind_of_drift_is_repaired_within_30_s(  # noqa: PLR0917 (fixtures)
    cluster: Cluster,
    person: PersonFactory,
    rabbit: RabbitManagement,
    redis_admin: Redis,
    users: dict[Service, str],
    measure: Measure,
) -> None:
    foreign = f"/api/queues/{VHOST}/foreign.queue"
    queue = f"/api/queues/{VHOST}/{Queue.TRANSLATED}"
    exchange = f"/api/exchanges/{VHOST}/retry"
    binding = f"/api/bindings/{VHOST}/e/auth/q/{Queue.PROFILE_CHANGED}"
    bound = f"{binding}/{Queue.PROFILE_CHANGED}"
    changed = f"/api/policies/{VHOST}/{Queue.CHANGE_EMAIL}"
    deleted = f"/api/policies/{VHOST}/{Queue.SECURITY_NOTICE}"
    on_top = f"/api/policies/{VHOST}/mine"
    email, static, translate = (
        users[each] for each in (Service.EMAIL, Service.STATIC, Service.TRANSLATE)
    )
    widened, taken = (f"/api/permissions/{VHOST}/{name}" for name in (email, static))
    rights, policy = await rabbit.get(widened), await rabbit.get(changed)
    password = f"/api/users/{translate}"
    acl = next(line for line in await redis_admin.acl_list() if " ~chat:*" in line)
    redis_user = str(acl).split()[1]

    async def acl_back() -> bool:
        return acl in await redis_admin.acl_list()

    async with conversation(person):
        await rabbit.put(foreign, {"durable": True})
        began = time.monotonic()
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        await rabbit.delete(queue)
        await rabbit.delete(exchange)
        await rabbit.delete(bound)
        await rabbit.post(binding, {"routing_key": "more"})
        one = {"pattern": "^x$", "apply-to": "queues", "definition": {"max-length": 1}}
        await rabbit.put(changed, one)
        await rabbit.delete(deleted)
        all_of_them = {"pattern": ".*", "priority": 9999, "definition": {"expires": 600_000}}
        await rabbit.put(on_top, {**all_of_them, "apply-to": "queues"})
        await rabbit.put(widened, everything)
        await rabbit.delete(taken)
        await rabbit.put(password, {"password": "guessed", "tags": "administrator"})
        await redis_admin.acl_deluser(redis_user)
        drifts = {
            "a queue deleted": there(rabbit, queue),
            "an exchange deleted": there(rabbit, exchange),
            "a binding removed": there(rabbit, bound),
            "a binding added": gone(rabbit, f"{binding}/more"),
            "a policy changed": there(rabbit, changed, definition=policy["definition"]),
            "a policy deleted": there(rabbit, deleted),
            "a policy on top": gone(rabbit, on_top),
            "permissions widened": there(rabbit, widened, configure=rights["configure"]),
            "permissions taken": there(rabbit, taken),
            "a password changed, a tag added": there(rabbit, password, tags=[]),
            "a Redis user deleted": acl_back,
        }
        await asyncio.gather(*(timed(what, one, began, measure) for what, one in drifts.items()))
        await read_again(rabbit, [Queue.TRANSLATED, Queue.PROFILE_CHANGED])
        assert await there(rabbit, foreign)(), "a queue that the operator does not own was deleted"
        await rabbit.delete(foreign)
    await cluster.wait_ready(within=60)


async def test_a_deleted_virtual_host_and_user_are_recreated_within_30_s(
    cluster: Cluster,
    person: PersonFactory,
    rabbit: RabbitManagement,
    users: dict[Service, str],
    measure: Measure,
) -> None:
    async with conversation(person):
        user = f"/api/users/{users[Service.CHAT]}"
        began = time.monotonic()
        await rabbit.delete(user)
        await rabbit.delete(f"/api/vhosts/{VHOST}")
        names = set(queues())

        async def all_there() -> bool:
            found = await get(rabbit, f"/api/queues/{VHOST}?disable_stats=true") or ()
            return names <= {each["name"] for each in found}

        await asyncio.gather(
            timed("a user deleted", there(rabbit, user), began, measure),
            timed("the virtual host deleted", all_there, began, measure),
        )
        await read_again(rabbit, list(Queue))
        measure("drift: the virtual host deleted, and all queues read", time.monotonic() - began)
    await cluster.wait_ready(within=60)


async def test_a_wiped_broker_is_repopulated_within_30_s(
    cluster: Cluster, person: PersonFactory, rabbit: RabbitManagement, measure: Measure
) -> None:
    foreign = f"/api/queues/{VHOST}/foreign.queue"
    async with conversation(person):
        await rabbit.put(foreign, {"durable": True})
        await wiped(cluster)
        began = time.monotonic()
        await timed("a wiped broker, from readiness to all queues", filled(rabbit), began, measure)
        await read_again(rabbit, list(Queue))
        measure("drift: a wiped broker, and all queues read", time.monotonic() - began)
        assert await gone(rabbit, foreign)(), "the broker was not wiped at all"
    await cluster.wait_ready(within=60)


@pytest.mark.disruptive
async def test_a_broker_wiped_without_an_operator_starts_with_the_topology(
    cluster: Cluster, rabbit: RabbitManagement
) -> None:
    async with operator_away(cluster):
        await wiped(cluster)
        await until(filled(rabbit), within=10, what="all queues")
        found = await get(rabbit, f"/api/bindings/{VHOST}") or ()
        there = {(each["source"], each["destination"], each["routing_key"]) for each in found}
        wanted = {(each.exchange, each.queue, each.routing_key) for each in bindings()}
        assert wanted <= there
        names = {each["name"] for each in await get(rabbit, f"/api/policies/{VHOST}") or ()}
        assert names == {each.name for each in policies()}
    await cluster.wait_ready(within=120)
    await read_again(rabbit, list(Queue))


async def test_an_inequivalent_queue_is_a_condition_with_the_command_that_fixes_it(
    cluster: Cluster, rabbit: RabbitManagement, measure: Measure
) -> None:
    name = f"{Queue.CHANGE_EMAIL}.dead"
    path = f"/api/queues/{VHOST}/{name}"
    # The queue has no consumer, so only the operator and the administrator act on it.
    await rabbit.delete(path)
    await rabbit.put(path, {"durable": True, "arguments": {"x-queue-type": "classic"}})
    began = time.monotonic()
    try:

        async def told() -> str:
            conditions = (await cluster.resource())["status"]["conditions"]
            topology = next(
                each for each in conditions if each["type"] == ConditionType.TOPOLOGY_READY
            )
            return topology["message"] if topology["reason"] == "QueueInequivalent" else ""

        message = await until(told, within=REPAIRED_S, what="the condition")
        measure("drift: an inequivalent queue reported", time.monotonic() - began)
        command = f"rabbitmqctl --vhost {VHOST} delete_queue {name} --if-empty"
        assert command in message
        assert (await rabbit.get(path))["type"] == "classic", "the operator changed it"
        # A starting broker imports the definitions: the queue must not prevent that.
        await cluster.kill("rabbitmq")
        (pod,) = await until(
            lambda: cluster.pods("rabbitmq"), within=120, what="the broker ready with it"
        )
        kept = there(rabbit, path, type="classic")
        await until(kept, within=10, what="the queue unchanged by the import")
        await cluster.exec(pod, *command.split(), container="rabbitmq")
    except BaseException:
        # The broker may be starting: leftovers would fail every later test.
        await until(removed(rabbit, path), within=60, what="the wrong queue removed")
        raise
    await cluster.wait_ready(within=60)
    assert (await rabbit.get(path))["type"] == "quorum"
