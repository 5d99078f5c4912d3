"""Reads the facts for the doctor's rules; facts without permission are skipped and listed."""

import asyncio
import re
import ssl
from collections.abc import Awaitable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import aiohttp

from ashchat_cli.cluster import Cluster
from ashchat_cli.faults import CliError, Exit
from ashchat_cli.objects import Object, is_ready, labels
from ashchat_cli.reach import broker_of
from ashchat_cli.rules import Facts, Web, moment, wanted_secrets
from ashchat_cli.status import names
from ashchat_core.api.names import OPERATOR, Label
from ashchat_core.topology import Service, consumed

T = TypeVar("T")

PRIVATE_PORT: Final = 9000
WEB_TIMEOUT_SECONDS: Final = 5.0
OPERATOR_LABELS: Final[dict[str, str]] = {Label.NAME: OPERATOR}
CRD: Final = "ashchats.ashchat.dev"
CONSUMING: Final = tuple(service.value for service in Service if consumed(service))

_HELD: Final = re.compile(r'^ashchat_amqp_held_messages\{queue="([^"]+)"\} (\S+)$', re.MULTILINE)
_MAIL: Final = re.compile(
    r'^ashchat_email_smtp_connections_total\{event="([^"]+)"\} (\S+)$', re.MULTILINE
)


class Reading:
    """Reads facts one after the other and records what could not be read."""

    def __init__(self) -> None:
        self.skipped: list[str] = []

    async def take(self, what: str, work: Awaitable[T], instead: T) -> T:
        """Return the result of the work; `instead` if a permission is missing or nothing answers.

        Raises:
            CliError: The cluster does not answer at all.
        """
        try:
            return await work
        except CliError as error:
            self.skipped.append(f"{what}: {error}")
            return instead


async def gather(cluster: Cluster, resource: Object | None) -> Facts:
    """Read all facts about the operator and one AshChat.

    Raises:
        CliError: The cluster does not answer.
    """
    reading = Reading()
    crd = await _crd(cluster, reading)
    now = datetime.now(UTC)
    server = parsedate_to_datetime(cluster.server_date) if cluster.server_date else None
    operators = await reading.take(
        "operator", cluster.list("deployments", None, OPERATOR_LABELS), None
    )
    leases = None
    if operators:
        leases = [
            lease
            for each in operators
            for lease in await reading.take(
                "the operator's Lease", _lease(cluster, each["metadata"]), []
            )
        ]
    nodes = await reading.take("nodes' clocks", cluster.list("leases", "kube-node-lease"), [])
    general: dict[str, Any] = {
        "now": now,
        "server": server,
        "crd": crd,
        "operators": operators,
        "leases": leases,
        "nodes": {
            each["metadata"]["name"]: at
            for each in nodes
            if (at := moment(each.get("spec", {}).get("renewTime"))) is not None
        },
    }
    own = await _own(cluster, reading, resource) if resource is not None else {}
    return Facts(**general, **own, skipped=tuple(reading.skipped))


async def _crd(cluster: Cluster, reading: Reading) -> Object | bool | None:
    try:
        found = await cluster.find("customresourcedefinitions", None, CRD)
    except CliError as error:
        if error.code is Exit.UNREACHABLE:
            raise  # then no other request is answered either
        reading.skipped.append(f"CustomResourceDefinition: {error}")
        return None
    return found or False


async def _lease(cluster: Cluster, deployment: Object) -> list[Object]:
    """Return the Lease of an operator; one with a single replica may have none."""
    found = await cluster.find("leases", deployment["namespace"], deployment["name"])
    return [found] if found else []


async def _own(cluster: Cluster, reading: Reading, resource: Object) -> dict[str, Any]:
    name, namespace = resource["metadata"]["name"], resource["metadata"]["namespace"]
    pods = await reading.take("pods", cluster.list("pods", namespace, labels(name)), [])
    claims, policies, secrets, depths, web, metrics = await asyncio.gather(
        reading.take(
            "volumes", cluster.list("persistentvolumeclaims", namespace, labels(name)), []
        ),
        reading.take("network policies", cluster.list("networkpolicies", namespace), []),
        _secrets(cluster, reading, resource),
        reading.take("queues", _depths(cluster, resource), None),
        _web(resource.get("status", {}).get("url", "")),
        asyncio.gather(*(_metrics(cluster, reading, namespace, pods, each) for each in CONSUMING)),
    )
    texts = dict(zip(CONSUMING, metrics, strict=True))
    return {
        "resource": resource,
        "pods": pods,
        "claims": claims,
        "policies": policies,
        "secrets": secrets,
        "depths": depths,
        "held": {each: _numbers(_HELD, texts[each]) for each in CONSUMING},
        "mail": _numbers(_MAIL, texts["email"]),
        "web": web,
    }


async def _secrets(
    cluster: Cluster, reading: Reading, resource: Object
) -> dict[str, tuple[str, ...] | None]:
    """Return the keys of the Secrets that the spec names; their values are discarded."""
    found: dict[str, tuple[str, ...] | None] = {}
    for name in wanted_secrets(resource["spec"]):
        try:
            secret = await cluster.find("secrets", resource["metadata"]["namespace"], name)
        except CliError as error:
            reading.skipped.append(f"Secret {name}: {error}")
        else:
            found[name] = tuple(secret.get("data", {})) if secret else None
    return found


async def _depths(cluster: Cluster, resource: Object) -> Any:
    async with broker_of(cluster, resource) as broker:
        return await broker.depths(names())


async def _metrics(
    cluster: Cluster, reading: Reading, namespace: str, pods: Sequence[Object], component: str
) -> str:
    """Return the metrics of all pods of a component, one after the other."""
    own = [
        pod["metadata"]["name"]
        for pod in pods
        if pod["metadata"]["labels"].get(Label.COMPONENT) == component and is_ready(pod)
    ]
    texts = [
        await reading.take(f"metrics of {pod}", cluster.metrics(namespace, pod, PRIVATE_PORT), "")
        for pod in own
    ]
    return "\n".join(texts)


def _numbers(pattern: re.Pattern[str], text: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for key, value in pattern.findall(text):
        found[key] = found.get(key, 0.0) + float(value)
    return found


async def _web(url: str) -> Web | None:
    """Request the public address; None if it is not reachable from outside the cluster."""
    parts = urlsplit(url)
    if not url or (parts.hostname or "").endswith(".svc"):
        return None
    problem = ""
    try:
        async with (
            aiohttp.ClientSession(trust_env=True) as session,
            session.get(url, timeout=aiohttp.ClientTimeout(WEB_TIMEOUT_SECONDS)) as answer,
        ):
            if answer.status >= 500:  # noqa: PLR2004 (HTTP's own)
                problem = f"it responds with {answer.status}"
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        problem = str(error) or type(error).__name__
    expires = None
    if parts.scheme == "https":
        expires = await _expires(str(parts.hostname), parts.port or 443)
    return Web(url, problem, expires)


async def _expires(host: str, port: int) -> datetime | None:
    """Return when a server's certificate expires; None if it is not valid."""
    try:
        async with asyncio.timeout(WEB_TIMEOUT_SECONDS):
            _, writer = await asyncio.open_connection(host, port, ssl=ssl.create_default_context())
    except (OSError, TimeoutError):
        return None  # the request before reported why
    certificate = writer.get_extra_info("peercert") or {}
    writer.close()
    text = certificate.get("notAfter")
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(text), UTC) if text else None
