"""Which credentials each pod uses, by its own report: the proof that a rotation waits for.

Every service exports `ashchat_credential_revision_info{credential,revision}` at its private port,
one line for each revision that it still uses: two of one credential while it switches. So a single
line with the wanted revision proves that the pod uses no other.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from ashchat_core.api.names import Label
from ashchat_operator.backends import connectivity
from ashchat_operator.resource.names import PRIVATE_PORT
from ashchat_operator.resource.types import ObjectView

Revisions = Mapping[str, frozenset[str]]
"""Credential → the revisions in use."""

METRIC: Final = "ashchat_credential_revision_info"
TIMEOUT_SECONDS: Final = 2.0
AT_A_TIME: Final = 8
MAX_BYTES: Final = 4 * 2**20
_ENDED: Final = frozenset({"Succeeded", "Failed"})


@dataclass(frozen=True, slots=True)
class PodReport:
    """The report of one pod; `revisions` is `None` if it did not answer."""

    component: str
    name: str
    revisions: Revisions | None


def relevant(pods: Iterable[ObjectView], now: datetime) -> list[ObjectView]:
    """Return the pods that may use a credential now.

    A terminating pod counts until the end of its grace period, which is its deletionTimestamp,
    because it still finishes its work. A pod on a lost node stays listed for longer, and does not
    count.
    """
    return [pod for pod in pods if not _gone(pod, now)]


def _gone(pod: ObjectView, now: datetime) -> bool:
    if pod.get("status", {}).get("phase") in _ENDED:
        return True
    ends = pod["metadata"].get("deletionTimestamp")
    return ends is not None and datetime.fromisoformat(ends) < now


def lacking(
    reports: Iterable[PodReport], wanted: Mapping[str, Mapping[str, str]]
) -> tuple[str, ...]:
    """Return the names of the pods that are not known to use exactly what is wanted.

    Args:
        reports: The reports of all relevant pods; a component without pods has nothing to prove.
        wanted: Component → credential → revision.
    """
    return tuple(
        sorted(
            report.name
            for report in reports
            if any(
                (report.revisions or {}).get(credential) != frozenset({revision})
                for credential, revision in wanted.get(report.component, {}).items()
            )
        )
    )


def unaware(
    reports: Iterable[PodReport], wanted: Mapping[str, Mapping[str, str]]
) -> frozenset[str]:
    """Return the names of the pods that answer and do not use the wanted revision at all."""
    return frozenset(
        report.name
        for report in reports
        if report.revisions is not None
        and any(
            revision not in report.revisions.get(credential, frozenset())
            for credential, revision in wanted.get(report.component, {}).items()
        )
    )


def parse(text: str) -> Revisions:
    """Return the revisions in a page of metrics.

    Raises:
        ValueError: The text is not a valid page of metrics.
    """
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == METRIC and sample.value:
                credential = sample.labels.get("credential", "")
                found.setdefault(credential, set()).add(sample.labels.get("revision", ""))
    return {credential: frozenset(revisions) for credential, revisions in found.items()}


class PodReporter:
    """Reads the reports of pods, a few concurrently; `async with` closes its connections."""

    def __init__(self, transport: httpx2.AsyncBaseTransport | None = None) -> None:
        self._http = httpx2.AsyncClient(
            timeout=TIMEOUT_SECONDS,
            transport=transport,
            verify=connectivity.no_trust(),
            trust_env=False,  # never through a proxy of the environment
        )
        self._slots = asyncio.Semaphore(AT_A_TIME)

    async def __aenter__(self) -> Self:
        """Return the reporter itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def ask(self, pods: Sequence[ObjectView]) -> tuple[PodReport, ...]:
        """Return the report of every pod; a pod that does not answer is reported, not raised."""
        return tuple(await asyncio.gather(*(self._one(pod) for pod in pods)))

    async def _one(self, pod: ObjectView) -> PodReport:
        metadata = pod["metadata"]
        component = metadata.get("labels", {}).get(Label.COMPONENT, "")
        address = pod.get("status", {}).get("podIP", "")
        revisions = None
        if address:
            host = f"[{address}]" if ":" in address else address
            async with self._slots:
                revisions = await self._read(f"http://{host}:{PRIVATE_PORT}/metrics")
        return PodReport(component, metadata["name"], revisions)

    async def _read(self, url: str) -> Revisions | None:
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS), self._http.stream("GET", url) as answer:
                if not answer.is_success:
                    return None
                page = b""
                async for part in answer.aiter_bytes():
                    page += part
                    if len(page) > MAX_BYTES:
                        return None
            return parse(page.decode())
        except (httpx2.HTTPError, TimeoutError, ValueError):
            return None
