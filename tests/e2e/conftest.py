"""Fixtures of the end-to-end suite. Its helpers are the package `ashchat_e2e` in tests/support.

Each worker of pytest-xdist has its own AshChat and operator (`ashchat_e2e.worker`).

All tests share one event loop, so that session-scoped fixtures can share connections.
Each test starts with AshChat Ready and must leave it Ready.
"""

import asyncio
import fcntl
import hashlib
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, suppress
from functools import cache
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from ashchat_dev import environment
from ashchat_dev.environment import Environment, NotConfiguredError
from ashchat_dev.http import http_client
from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.mailbox import Mailbox
from ashchat_dev.phoenix import PhoenixSocket
from ashchat_e2e import order, worker
from ashchat_e2e.audit_log import AuditLog
from ashchat_e2e.backends import (
    Database,
    MongoAs,
    RabbitManagement,
    RedisAs,
    forwarded_uri,
    redis_admin_uri,
)
from ashchat_e2e.cluster_lock import ClusterLock
from ashchat_e2e.container_runtime import Runtime, UnsupportedError
from ashchat_e2e.frame_checker import FrameChecker
from ashchat_e2e.nodes import Nodes
from ashchat_e2e.people import PersonFactory
from ashchat_e2e.sampling import seed

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this directory, run them on one event loop, and sort them.

    The order is for pytest-xdist: the slowest modules first, so that no worker ends long after the
    others.
    """
    ours = [item for item in items if item.path.is_relative_to(HERE)]
    for item in ours:
        item.add_marker(pytest.mark.e2e)
        if pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
    if os.environ.get("PYTEST_XDIST_WORKER"):
        items[:] = order.sort(items)


SHOWN = 20
"""How many of the measured durations are printed."""

MEASURED = "measured"
"""The user property of a test report that holds the test's measurements."""

ORIGINAL = "original"
"""Key of what a worker gets from the controller: the first AshChat's resource."""


def pytest_report_header() -> str:
    """Print the seed of the samples, so that a failure can be reproduced."""
    return f"seed: {seed()} (ASHCHAT_SEED repeats it)"


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Print a failure when it happens: pytest prints the details at the end."""
    if report.failed and "PYTEST_XDIST_WORKER" not in os.environ:
        reason = str(report.longrepr).strip().splitlines()[-1:]
        sys.stderr.write(f"\n{report.nodeid} failed ({report.when}): {' '.join(reason)[:300]}\n")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the longest durations that the tests measured, in seconds."""
    reports = [
        report
        for found in terminalreporter.stats.values()
        for report in found
        if isinstance(report, pytest.TestReport)
    ]
    if os.environ.get("ASHCHAT_RECORD"):
        order.record(reports)
    measured = [
        value
        for report in reports
        if report.when == "teardown"
        for name, value in report.user_properties
        if name == MEASURED and isinstance(value, (list, tuple))
    ]
    if measured:
        terminalreporter.section(f"measured, in seconds: the slowest of {len(measured)}")
    for what, seconds in sorted(measured, key=lambda each: -each[1])[:SHOWN]:
        terminalreporter.line(f"{seconds:7.2f}  {what}")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give each worker the first AshChat's resource as it is before any test changes it."""
    with suppress(NotConfiguredError):
        node.workerinput[ORIGINAL] = _original(environment.load())


@cache
def _original(first: Environment) -> dict[str, Any] | None:
    async def read() -> dict[str, Any]:
        async with worker.client(first, 0) as cluster:
            return await cluster.resource()

    if first.kubeconfig is None or not first.kubeconfig.is_file():
        return None
    return asyncio.run(read())


@pytest.fixture
def measure(record_property: Callable[[str, object], None]) -> Callable[[str, float], None]:
    """Record a named duration in seconds for the summary and the JUnit report."""

    def record(what: str, seconds: float) -> None:
        record_property(MEASURED, (what, round(seconds, 3)))

    return record


def unavailable(reason: str) -> None:
    """Skip with a reason; in CI fail instead, because a skip would go unnoticed."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def first() -> Environment:
    """The environment of the AshChat that `make up` created."""
    try:
        found = environment.load()
    except NotConfiguredError as error:
        unavailable(str(error))
        raise
    if found.kubeconfig is None or not found.kubeconfig.is_file():
        unavailable("KUBECONFIG is not set or not a file: run `make up` first")
    return found


@pytest.fixture(scope="session")
def turn(first: Environment, request: pytest.FixtureRequest) -> Iterator[None]:
    """Wait for other runs of the suite on this cluster: each would see the other's faults."""
    name = f"{_identifier(first)}.{worker.number()}"
    with (Path(tempfile.gettempdir()) / f"ashchat-suite-{name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            terminal = request.config.pluginmanager.get_plugin("terminalreporter")
            if terminal is not None:
                terminal.write_line("waiting for another run of the suite on this cluster")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _identifier(where: Environment) -> str:
    return hashlib.sha256(where.url.encode()).hexdigest()[:12]


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def where(
    first: Environment,
    turn: None,  # noqa: ARG001
    request: pytest.FixtureRequest,
) -> AsyncIterator[Environment]:
    """The environment of this worker's AshChat."""
    original = getattr(request.config, "workerinput", {}).get(ORIGINAL)
    async with worker.ashchat(first, worker.number(), original) as own:
        yield own


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def cluster(where: Environment) -> AsyncIterator[Cluster]:
    """The cluster with this worker's AshChat."""
    async with worker.client(where, worker.number()) as found:
        yield found


@pytest_asyncio.fixture(loop_scope="session", scope="module", autouse=True)
async def exclusive_module(
    first: Environment, request: pytest.FixtureRequest
) -> AsyncIterator[bool]:
    """Hold the cluster for a whole module that changes what all AshChats share."""
    exclusive = any(mark.name == "exclusive" for mark in request.node.own_markers)
    async with AsyncExitStack() as stack:
        if exclusive:
            lock = ClusterLock(_identifier(first))
            await stack.enter_async_context(lock.hold(exclusive=True))
        yield exclusive


@pytest_asyncio.fixture(loop_scope="session", autouse=True)
async def shared_test(first: Environment, exclusive_module: bool) -> AsyncIterator[None]:  # noqa: FBT001
    """Share the cluster with other tests."""
    async with AsyncExitStack() as stack:
        if not exclusive_module:
            lock = ClusterLock(_identifier(first))
            await stack.enter_async_context(lock.hold(exclusive=False))
        yield


@pytest.fixture(scope="session", autouse=True)
def violations() -> list[str]:
    """What the AsyncAPI document does not describe of the frames of all sockets."""
    found: list[str] = []
    PhoenixSocket.observers.append(lambda: FrameChecker(found))
    return found


@pytest.fixture(autouse=True)
def only_described_frames(violations: list[str]) -> Iterator[None]:
    """Fail the test in which a frame came that the AsyncAPI document does not describe."""
    yield
    found, violations[:] = violations[:], []
    assert not found, "\n".join(found[:SHOWN])


@pytest_asyncio.fixture(loop_scope="session", autouse=True)
async def ready(cluster: Cluster, shared_test: None) -> AsyncIterator[None]:  # noqa: ARG001
    """Start with AshChat Ready; the test must leave it Ready."""
    await cluster.wait_ready(within=120)
    yield
    await cluster.wait_ready(within=120)


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def mailbox(where: Environment) -> AsyncIterator[Mailbox]:
    """The mailbox of all users."""
    async with Mailbox(where.mailbox_url) as found:
        yield found


@pytest_asyncio.fixture(loop_scope="session")
async def person(where: Environment, mailbox: Mailbox) -> AsyncIterator[PersonFactory]:
    """Create users who have signed up and signed in; see PersonFactory."""
    factory = PersonFactory(where, mailbox)
    yield factory
    for made in factory.made:
        await made.close()


@pytest_asyncio.fixture(loop_scope="session")
async def anybody(where: Environment) -> AsyncIterator[httpx2.AsyncClient]:
    """A client without an account, at the edge."""
    async with http_client(where.url, timeout=30) as client:
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
    """RabbitMQ's management API with the administrator's credentials."""
    secret = await cluster.secret(f"{cluster.name}-rabbitmq-admin")
    credentials = (secret["username"].decode(), secret["password"].decode())
    async with (
        cluster.forward(f"service/{cluster.name}-rabbitmq", 15672) as port,
        http_client(f"http://127.0.0.1:{port}", auth=credentials, timeout=20) as client,
    ):
        yield RabbitManagement(client)


@pytest_asyncio.fixture(loop_scope="session")
async def redis_as(cluster: Cluster) -> AsyncIterator[RedisAs]:
    """Connect to Redis with the credentials of the named service."""
    async with AsyncExitStack() as stack:

        async def connect(service: str) -> Redis:
            uri = await forwarded_uri(cluster, stack, service, "redis.uri", 6379)
            client: Redis = Redis.from_url(uri, decode_responses=True)
            stack.push_async_callback(client.aclose)
            return client

        yield connect


@pytest_asyncio.fixture(loop_scope="session")
async def redis_admin(cluster: Cluster) -> AsyncIterator[Redis]:
    """Redis with the administrator's credentials, which see every key."""
    async with (
        AsyncExitStack() as stack,
        Redis.from_url(await redis_admin_uri(cluster, stack), decode_responses=True) as client,
    ):
        yield client


@pytest_asyncio.fixture(loop_scope="session")
async def mongo_as(cluster: Cluster) -> AsyncIterator[MongoAs]:
    """Open the named service's database with its credentials."""
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
    """Kills and freezes the node's containers with signals that Kubernetes has no API for."""
    try:
        return Runtime(os.environ.get("CLUSTER", ""))
    except UnsupportedError as error:
        pytest.skip(str(error))


NODES = 3
"""The number of nodes that tests marked `nodes` need: `make test-nodes` starts them."""


@pytest_asyncio.fixture(loop_scope="session")
async def nodes(cluster: Cluster) -> Nodes:
    """The nodes of a kind cluster, which a test may lose or drain."""
    found = Nodes(cluster)
    if os.environ.get("CLUSTER") != "kind" or len(await found.names()) < NODES:
        unavailable(f"needs a kind cluster of {NODES} nodes: run `make test-nodes`")
    return found
