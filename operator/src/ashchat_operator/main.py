"""The running operator: kopf tells of the resources, `wake` of their children.

kopf has event handlers only: they need no finalizers and leave no annotations behind.
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
    """Look after AshChats until a signal says stop; stand by as long as another does.

    Raises:
        InvalidImagesError: The table of images is not usable.
        OSError: It cannot be read, or the private port is taken.
        ExceptionGroup: A part of the operator failed, or the Lease was lost; the pod is to be
            started again.
    """
    configure_logging("operator", settings.log_level)
    logging.getLogger("kopf").setLevel(logging.WARNING)  # it tells of every event
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

        async def look(namespace: str, name: str) -> float:
            with metrics.reconciling():
                return await reconciler.reconcile(
                    namespace, name, partial(workers.wake, namespace, name)
                )

        workers = Workers(look, parallel=settings.parallel_reconciles)
        watcher = Watcher(api, workers, settings.namespaces, reconciler.memories.referring)
        election = _election(settings, for_lease)
        api.may_write = lambda: election.leading
        metrics.LEADER.set_function(lambda: election.leading)
        metrics.SCHEMA_CURRENT.set_function(lambda: not schema.says)
        metrics.WATCH_STALENESS.set_function(lambda: watcher.staleness)
        async with private_server(
            settings.private_port,
            dead=lambda: watcher.dead,
            unready=lambda: _unready(schema, election, started),
        ):
            try:
                async with asyncio.TaskGroup() as group:
                    beside = [group.create_task(schema.watch(), name="schema")]
                    if await _unless(stop, election.win()):
                        beside.append(group.create_task(election.hold(), name="lease"))
                    if await _unless(stop, schema.served()):
                        beside.append(group.create_task(watcher.run(), name="children"))
                        await _kopf(settings, workers, reconciler, started, stop)
                    for task in beside:
                        task.cancel()
            finally:
                await workers.close()
                await reconciler.close()
                await election.release()


def limit_memory() -> None:
    """Let TLS connections, of which there are many short ones, take and keep little memory.

    asyncio gives each a buffer of 256 KiB, though a record of TLS has 16 at most (RFC 8446,
    section 5.1). And a closed one is a cycle, which the garbage collector finds only when new
    objects are a quarter of the old: so what was loaded, hundreds of thousands of objects, is
    taken out of its sight.
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
    """Return what this pod waits for; a pod that stands by is ready."""
    if schema.says:
        return schema.says
    if election.leading:
        return "" if started.is_set() else "watching has not begun"
    return "" if election.seen else "the Lease was not read yet"


def _heed(stop: asyncio.Event) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)


async def _unless(stop: asyncio.Event, awaited: Coroutine[Any, Any, None]) -> bool:
    """Wait for something, and cancel it when it is time to stop; tell whether to go on."""
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
    """Run kopf until it is time to stop."""
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
        settings=_settings(),
        standalone=True,
        clusterwide=not settings.namespaces,
        namespaces=settings.namespaces,
        ready_flag=started,
    )
    # kopf's own way out waits 5 s for whatever else runs here, and the next leader for us. An
    # event only wakes a look: nothing is lost when all is cancelled.
    _heed(stop)
    await _unless(stop, kopf.run_tasks(tasks, ignored=others))


def _settings() -> kopf.OperatorSettings:
    """Return kopf's settings: what it watches is told to it, and no request is for ever."""
    own = kopf.OperatorSettings()
    own.posting.enabled = False
    own.scanning.disabled = True
    # A watch that a load balancer silently dropped would leave the operator deaf.
    own.watching.server_timeout = 300
    own.watching.client_timeout = 310
    own.watching.connect_timeout = 10
    own.networking.request_timeout = 30
    return own
