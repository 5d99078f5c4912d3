"""Run the operator: kopf watches the AshChats, `wake` watches the objects they own.

Only kopf's event handlers are used, since they need no finalizers and no annotations.
"""

import asyncio
import gc
import logging
import signal
from asyncio.sslproto import SSLProtocol
from collections.abc import Coroutine
from functools import partial
from os import getpid
from socket import gethostname
from typing import Any, Final

import kopf

from ashchat_core import __version__
from ashchat_core.api.names import GROUP, PLURAL, VERSION
from ashchat_core.telemetry import configure_logging
from ashchat_operator import metrics
from ashchat_operator.health import private_server
from ashchat_operator.kube.api import Api
from ashchat_operator.kube.leader import Election, SingleProcess
from ashchat_operator.kube.pool import login
from ashchat_operator.kube.watcher import Watcher
from ashchat_operator.kube.workers import Workers
from ashchat_operator.lifecycle.schema import Schema
from ashchat_operator.reconcile.reconciler import Pace, Reconciler
from ashchat_operator.resource.images import Images
from ashchat_operator.resource.names import ClusterContext
from ashchat_operator.settings import Settings

TLS_BUFFER: Final = 64 * 1024


async def run(settings: Settings) -> None:
    """Manage AshChats until a signal arrives, while this pod is the leader.

    Raises:
        InvalidImagesError: The table of images is invalid.
        OSError: The table cannot be read, or the private port is in use.
        ExceptionGroup: A part of the operator failed, or the Lease was lost; the pod has
            to restart.
    """
    configure_logging("operator", settings.log_level)
    logging.getLogger("kopf").setLevel(logging.WARNING)  # it logs every event
    metrics.build(__version__)
    context = ClusterContext(
        Images.load(settings.images_file),
        pod_cidrs=settings.pod_cidrs,
        cluster_domain=settings.cluster_domain,
        operator_namespace=settings.namespace,
    )
    pace = Pace(settled=settings.resync_seconds, progressing=settings.progress_seconds)
    limit_memory()
    stop, started = asyncio.Event(), asyncio.Event()
    _heed(stop)
    async with await Api.connect() as api, await Api.connect() as for_lease:
        schema = Schema(api)
        reconciler = Reconciler(api, context, schema, version=__version__, pace=pace)

        async def reconcile(namespace: str, name: str) -> float:
            with metrics.reconciling():
                return await reconciler.reconcile(
                    namespace, name, partial(workers.wake, namespace, name)
                )

        workers = Workers(reconcile, parallel=settings.parallel_reconciles)
        watcher = Watcher(api, workers, settings.namespaces, reconciler.memories.referring)
        election = _election(settings, for_lease)
        api.may_write = lambda: election.leading
        metrics.LEADER.set_function(lambda: election.leading)
        metrics.SCHEMA_CURRENT.set_function(lambda: not schema.message)
        metrics.WATCH_STALENESS.set_function(lambda: watcher.staleness)
        async with private_server(
            settings.private_port,
            dead=lambda: watcher.dead,
            unready=lambda: _unready(schema, election, started),
        ):
            try:
                async with asyncio.TaskGroup() as group:
                    background = [group.create_task(schema.watch(), name="schema")]
                    if await _unless(stop, election.win()):
                        background.append(group.create_task(election.hold(), name="lease"))
                    if await _unless(stop, schema.served()):
                        background.append(group.create_task(watcher.run(), name="children"))
                        await _kopf(settings, workers, reconciler, started, stop)
                    for task in background:
                        task.cancel()
            finally:
                await workers.close()
                await reconciler.close()
                await election.release()


def limit_memory() -> None:
    """Reduce the memory that many short TLS connections use.

    asyncio gives each connection a buffer of 256 KiB, although a TLS record has at most 16 KiB
    (RFC 8446, section 5.1). A closed connection is a reference cycle, which the garbage
    collector finds only once new objects amount to a quarter of the old ones. Freezing the
    hundreds of thousands of objects loaded at the start makes it run much earlier.
    """
    SSLProtocol.max_size = TLS_BUFFER
    gc.collect()
    gc.freeze()


def _election(settings: Settings, api: Api) -> Election | SingleProcess:
    if not settings.lease:
        return SingleProcess()
    namespace, _, name = settings.lease.partition("/")
    return Election(api, (namespace, name), settings.pod_name or f"{gethostname()}-{getpid()}")


def _unready(schema: Schema, election: Election | SingleProcess, started: asyncio.Event) -> str:
    """Return what this pod waits for; a standby pod is ready."""
    if schema.message:
        return schema.message
    if election.leading:
        return "" if started.is_set() else "watching has not begun"
    return "" if election.seen else "the Lease was not read yet"


def _heed(stop: asyncio.Event) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)


async def _unless(stop: asyncio.Event, awaited: Coroutine[Any, Any, None]) -> bool:
    """Wait for something, cancel it on stop, and return whether to continue."""
    work = asyncio.create_task(awaited)
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((work, stopping), return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
    finally:
        work.cancel()
        stopping.cancel()
        await asyncio.gather(work, stopping, return_exceptions=True)
    return not stop.is_set()


async def _kopf(
    settings: Settings,
    workers: Workers,
    reconciler: Reconciler,
    started: asyncio.Event,
    stop: asyncio.Event,
) -> None:
    """Run kopf until the operator stops."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    def _(**_: Any) -> kopf.ConnectionInfo:
        return login()

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
    async def changed(event: kopf.RawEvent, namespace: str | None, name: str, **_: Any) -> None:
        if namespace is None or namespace in settings.excluded:
            return
        if event["type"] == "DELETED":
            workers.forget(namespace, name)
            await reconciler.forget(namespace, name)
        else:
            workers.track(namespace, name)

    others = asyncio.all_tasks()
    tasks = await kopf.spawn_tasks(
        registry=registry,
        settings=_settings(settings),
        standalone=True,
        clusterwide=not settings.namespaces,
        namespaces=settings.namespaces,
        ready_flag=started,
    )
    # kopf's own shutdown waits 5 s for other tasks, which would delay the next leader. An event
    # only triggers a reconcile, so cancelling everything loses nothing.
    _heed(stop)
    await _unless(stop, kopf.run_tasks(tasks, ignored=others))


def _settings(settings: Settings) -> kopf.OperatorSettings:
    """Return kopf's settings: no discovery of namespaces, and a timeout for every request."""
    own = kopf.OperatorSettings()
    own.posting.enabled = False
    own.scanning.disabled = True
    # Without a timeout, a watch that a load balancer dropped silently would never deliver again.
    own.watching.server_timeout = 300
    own.watching.client_timeout = 310
    own.watching.connect_timeout = 10
    own.watching.inactivity_timeout = settings.watch_silence_seconds
    own.networking.request_timeout = 30
    return own
