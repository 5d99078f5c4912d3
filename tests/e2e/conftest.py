"""Fixtures of the end-to-end suite. Its helpers are the package `ashchat_e2e` in tests/support.

All tests share one event loop, so that the connections of session-wide fixtures serve all.
Each test starts with AshChat Ready and has to leave it so.
"""

import fcntl
import hashlib
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from ashchat_dev import environment
from ashchat_dev.environment import Environment, NotConfiguredError
from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.mailbox import Mailbox
from ashchat_e2e.audit_log import AuditLog
from ashchat_e2e.backends import (
    Database,
    MongoAs,
    RabbitManagement,
    RedisAs,
    forwarded_uri,
    redis_admin_uri,
)
from ashchat_e2e.container_runtime import Runtime, UnsupportedError
from ashchat_e2e.people import PersonFactory

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is in this folder, and put its async tests on the one loop of the session."""
    for item in items:
        if not item.path.is_relative_to(HERE):
            continue
        item.add_marker(pytest.mark.e2e)
        if pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


SHOWN = 20
"""How many of the measured durations are printed."""

MEASURED: pytest.StashKey[list[tuple[str, float]]] = pytest.StashKey()


def pytest_configure(config: pytest.Config) -> None:
    """Keep a place for what the tests measure."""
    config.stash[MEASURED] = []


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print what took longest of what was measured, in seconds."""
    kept = config.stash[MEASURED]
    measured = sorted(kept, key=lambda one: -one[1])
    if measured:
        terminalreporter.section(f"measured, in seconds: the slowest of {len(measured)}")
    for what, seconds in measured[:SHOWN]:
        terminalreporter.line(f"{seconds:7.2f}  {what}")


@pytest.fixture
def measure(request: pytest.FixtureRequest) -> Callable[[str, float], None]:
    """Keep a duration in seconds, by its name, for the summary."""

    def keep(what: str, seconds: float) -> None:
        request.config.stash[MEASURED].append((what, seconds))

    return keep


def unavailable(reason: str) -> None:
    """Skip for a reason; in CI a skip is a failure, since nobody would see it."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def where() -> Environment:
    """Where AshChat is."""
    try:
        found = environment.load()
    except NotConfiguredError as error:
        unavailable(str(error))
        raise
    if found.kubeconfig is None or not found.kubeconfig.is_file():
        unavailable("KUBECONFIG is not set or not a file: run `make up` first")
    return found


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def cluster(where: Environment, turn: None) -> AsyncIterator[Cluster]:  # noqa: ARG001
    """The cluster, and the AshChat `demo` in it."""
    assert where.kubeconfig is not None
    async with Cluster(where.kubeconfig, kubectl=where.kubectl) as found:
        yield found


@pytest.fixture(scope="session")
def turn(where: Environment, request: pytest.FixtureRequest) -> Iterator[None]:
    """Have the cluster to ourselves: two runs would see each other's faults."""
    name = hashlib.sha256(where.url.encode()).hexdigest()[:12]
    with (Path(tempfile.gettempdir()) / f"ashchat-suite-{name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            terminal = request.config.pluginmanager.get_plugin("terminalreporter")
            if terminal is not None:
                terminal.write_line("another run of the suite has this cluster; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest_asyncio.fixture(loop_scope="session", autouse=True)
async def ready(cluster: Cluster) -> AsyncIterator[None]:
    """Start with AshChat Ready; the test has to leave it Ready."""
    await cluster.wait_ready(within=120)
    yield
    await cluster.wait_ready(within=120)


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def mailbox(where: Environment) -> AsyncIterator[Mailbox]:
    """Everyone's mails."""
    async with Mailbox(where.mailbox_url) as found:
        yield found


@pytest_asyncio.fixture(loop_scope="session")
async def person(where: Environment, mailbox: Mailbox) -> AsyncIterator[PersonFactory]:
    """Make people who have signed up and in; see PersonFactory."""
    factory = PersonFactory(where, mailbox)
    yield factory
    for made in factory.made:
        await made.close()


@pytest_asyncio.fixture(loop_scope="session")
async def anybody(where: Environment) -> AsyncIterator[httpx2.AsyncClient]:
    """Somebody without an account, at the edge."""
    async with httpx2.AsyncClient(base_url=where.url, timeout=30, trust_env=False) as client:
        yield client


@pytest.fixture(scope="session")
def audit(where: Environment) -> AuditLog:
    """The API server's audit log."""
    log = AuditLog(where.audit_log_dir)
    if not log.available:
        unavailable(f"no audit log of the API server in {where.audit_log_dir} (AUDIT_LOG_DIR)")
    return log


@pytest_asyncio.fixture(loop_scope="session")
async def rabbit(cluster: Cluster) -> AsyncIterator[RabbitManagement]:
    """RabbitMQ's management API with the admin's credentials."""
    secret = await cluster.secret(f"{cluster.name}-rabbitmq-admin")
    credentials = (secret["username"].decode(), secret["password"].decode())
    async with (
        cluster.forward(f"service/{cluster.name}-rabbitmq", 15672) as port,
        httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", auth=credentials, timeout=20, trust_env=False
        ) as client,
    ):
        yield RabbitManagement(client)


@pytest_asyncio.fixture(loop_scope="session")
async def redis_as(cluster: Cluster) -> AsyncIterator[RedisAs]:
    """Connect to Redis with the credentials of the service that is named."""
    async with AsyncExitStack() as stack:

        async def connect(service: str) -> Redis:
            uri = await forwarded_uri(cluster, stack, service, "redis.uri", 6379)
            client: Redis = Redis.from_url(uri, decode_responses=True)
            stack.push_async_callback(client.aclose)
            return client

        yield connect


@pytest_asyncio.fixture(loop_scope="session")
async def redis_admin(cluster: Cluster) -> AsyncIterator[Redis]:
    """Redis with the admin's credentials: it sees every key."""
    async with (
        AsyncExitStack() as stack,
        Redis.from_url(await redis_admin_uri(cluster, stack), decode_responses=True) as client,
    ):
        yield client


@pytest_asyncio.fixture(loop_scope="session")
async def mongo_as(cluster: Cluster) -> AsyncIterator[MongoAs]:
    """Open the database of the service that is named, with its credentials."""
    async with AsyncExitStack() as stack:

        async def connect(service: str) -> Database:
            uri = await forwarded_uri(cluster, stack, service, "mongodb.uri", 27017)
            client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(
                uri, directConnection=True, serverSelectionTimeoutMS=10_000
            )
            stack.push_async_callback(client.close)
            return client.get_default_database()

        yield connect


@pytest.fixture(scope="session")
def runtime() -> Runtime:
    """What kills and freezes containers of the node: kill -9, as nothing in Kubernetes does."""
    try:
        return Runtime(os.environ.get("CLUSTER", ""))
    except UnsupportedError as error:
        pytest.skip(str(error))
