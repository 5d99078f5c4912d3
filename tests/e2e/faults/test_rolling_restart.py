"""Every service restarts under load: no request fails, and nothing is lost."""

import secrets
import time
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from ashchat_core.topology import Service
from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.mailbox import Mailbox
from ashchat_dev.waiting import until
from ashchat_e2e.people import PersonFactory
from ashchat_e2e.traffic import traffic

RESTART = "ashchat.dev/restart-"
SERVICES = (*(service.value for service in Service), "apertium", "edge")
WITHIN_S = 180.0

Measure = Callable[[str, float], None]


@pytest_asyncio.fixture(loop_scope="session", scope="module", autouse=True)
async def unpulled(cluster: Cluster) -> AsyncIterator[None]:
    """Remove the annotations at the end."""
    yield
    annotations = (await cluster.resource())["metadata"].get("annotations", {})
    off = {key: None for key in annotations if key.startswith(RESTART)}
    await cluster.patch("ashchats", cluster.name, {"metadata": {"annotations": off}})


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_restarts_and_nothing_fails(
    cluster: Cluster, person: PersonFactory, mailbox: Mailbox, measure: Measure, service: str
) -> None:
    async with traffic(person, mailbox) as seen:
        await until(lambda: seen.done["message"] >= 4, within=60, what="a conversation")
        former = set(await cluster.pods(service))
        began = time.monotonic()
        annotations = {f"{RESTART}{service}": secrets.token_hex(4)}
        await cluster.patch("ashchats", cluster.name, {"metadata": {"annotations": annotations}})

        async def replaced() -> bool:
            return bool(now := set(await cluster.pods(service))) and not now & former

        await until(replaced, within=WITHIN_S, every=0.5, what=f"new pods of {service}")
        await cluster.wait_former_gone(service, within=WITHIN_S)
        await cluster.wait_ready(within=WITHIN_S)
        measure(f"{service} restarted under load", time.monotonic() - began)
    assert seen.failed == []
    # Sockets end with the pod that holds them, the edge's included; all others stay open.
    if service not in {"chat", "edge"}:
        assert seen.reconnects == 0
