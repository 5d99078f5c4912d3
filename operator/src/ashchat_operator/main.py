"""The running operator: kopf tells of the resources, `wake` of their children.

kopf has event handlers only: they need no finalizers and leave no annotations behind.
"""

import asyncio
import logging
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import kopf

from ashchat_core.telemetry import configure_logging
from ashchat_operator.api import Api
from ashchat_operator.health import private_server
from ashchat_operator.images import Images
from ashchat_operator.model import GROUP, PLURAL, VERSION
from ashchat_operator.reconcile import Pace, Reconciler
from ashchat_operator.render.common import Context
from ashchat_operator.settings import Settings
from ashchat_operator.wake import Keepers, Watcher


def operator_version() -> str:
    """Return the operator's version; in an image that has only the sources, the chart's."""
    try:
        return version("ashchat-operator")
    except PackageNotFoundError:
        return "0.1.0"


async def run(settings: Settings) -> None:
    """Look after AshChats until a signal says stop.

    Raises:
        ImagesInvalid: The table of images is not usable.
        OSError: It cannot be read, or the private port is taken.
        ExceptionGroup: A part of the operator failed; the pod is to be started again.
    """
    configure_logging("operator", settings.log_level)
    logging.getLogger("kopf").setLevel(logging.WARNING)  # it tells of every event
    context = Context(
        Images.load(settings.images_file),
        pod_cidrs=settings.pod_cidrs,
        cluster_domain=settings.cluster_domain,
        operator_namespace=settings.namespace,
    )
    pace = Pace(settled=settings.resync_seconds, progressing=settings.progress_seconds)
    async with await Api.connect() as api:
        reconciler = Reconciler(api, context, version=operator_version(), pace=pace)

        async def look(namespace: str, name: str) -> float:
            return await reconciler.look(namespace, name, partial(keepers.wake, namespace, name))

        keepers = Keepers(look, parallel=settings.parallel_reconciles)
        watcher = Watcher(api, keepers, settings.namespaces)
        started = asyncio.Event()
        async with private_server(
            settings.private_port, alive=lambda: watcher.alive, ready=started.is_set
        ):
            try:
                async with asyncio.TaskGroup() as group:
                    watching = group.create_task(watcher.run(), name="children")
                    await _kopf(settings, keepers, reconciler, started)
                    watching.cancel()
            finally:
                await keepers.close()


async def _kopf(
    settings: Settings, keepers: Keepers, reconciler: Reconciler, started: asyncio.Event
) -> None:
    """Run kopf until SIGTERM or SIGINT, which it handles."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
    async def changed(event: kopf.RawEvent, namespace: str | None, name: str, **_: Any) -> None:
        if namespace is None:
            return
        if event["type"] == "DELETED":
            keepers.forget(namespace, name)
            await reconciler.forget(namespace, name)
        else:
            keepers.keep(namespace, name)

    own = kopf.OperatorSettings()
    own.posting.enabled = False
    own.scanning.disabled = True
    # A watch that a load balancer silently dropped would leave the operator deaf.
    own.watching.server_timeout = 300
    own.watching.client_timeout = 310
    own.watching.connect_timeout = 10
    own.networking.request_timeout = 30
    await kopf.operator(
        registry=registry,
        settings=own,
        standalone=True,
        clusterwide=not settings.namespaces,
        namespaces=settings.namespaces,
        ready_flag=started,
    )
