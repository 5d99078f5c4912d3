"""Leader election by a Lease (coordination.k8s.io/v1): one operator leads, the others stand by.

The rules are those of client-go's leaderelection
(https://pkg.go.dev/k8s.io/client-go/tools/leaderelection): times in the Lease are never compared
with the local clock; a candidate measures by its monotonic clock how long it has observed no
renewal. The leader gives up before others may take over, whatever the network does. The election of
the generated client compares wall clocks and never releases the Lease.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, Self

from aiohttp import ClientError

from ashchat_core.api.names import OPERATOR
from ashchat_operator.kube.api import Api
from ashchat_operator.kube.errors import ApiServerError

JITTER: Final = 0.2
LEASE_ERRORS: Final = (ApiServerError, ClientError, OSError, TimeoutError, ValueError)
"""The exceptions that a request for the Lease may raise."""

_log = logging.getLogger(__name__)


class LeaseLostError(Exception):
    """The Lease is held by another process or was not renewed in time; this process must end."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Times in seconds. A lost leader is replaced after at most lease + 2 retries with jitter."""

    lease: int = 10
    """After the last renewal that a candidate observed, it may acquire the Lease."""
    renew: float = 6.0
    """After its last renewal the leader stops writing, and ends."""
    retry: float = 2.0
    """Between two requests for the Lease, and the timeout of each."""


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """The content of a Lease."""

    holder: str = ""
    duration_seconds: int = 0
    acquired: str = ""
    renewed: str = ""
    transitions: int = 0

    @classmethod
    def read(cls, body: Mapping[str, Any]) -> Self:
        """Return the content of a Lease; fields that it lacks are empty."""
        spec = body.get("spec") or {}
        return cls(
            spec.get("holderIdentity") or "",
            spec.get("leaseDurationSeconds") or 0,
            spec.get("acquireTime") or "",
            spec.get("renewTime") or "",
            spec.get("leaseTransitions") or 0,
        )

    def spec(self) -> dict[str, Any]:
        """Return the record as a Lease's spec."""
        return {
            "holderIdentity": self.holder,
            "leaseDurationSeconds": self.duration_seconds,
            "acquireTime": self.acquired,
            "renewTime": self.renewed,
            "leaseTransitions": self.transitions,
        }


@dataclass(frozen=True, slots=True)
class ObservedLease:
    """The content of a Lease, and since when (our monotonic clock) it has been the same."""

    record: LeaseRecord
    since: float


def observed(former: ObservedLease | None, record: LeaseRecord, now: float) -> ObservedLease:
    """Return the observation of a record: the previous one, if nothing changed since."""
    return former if former is not None and former.record == record else ObservedLease(record, now)


def free(seen: ObservedLease, me: str, now: float) -> bool:
    """Return whether a candidate may acquire a Lease: it is free, its own, or has expired."""
    record = seen.record
    return record.holder in {"", me} or now - seen.since > record.duration_seconds


def claimed(record: LeaseRecord, me: str, seconds: int, now: str) -> LeaseRecord:
    """Return a Lease's record with the candidate as its holder."""
    if record.holder == me:
        return replace(record, renewed=now, duration_seconds=seconds)
    return LeaseRecord(me, seconds, now, now, record.transitions + (1 if record.acquired else 0))


class SingleProcess:
    """The election without a Lease: this process is the only one, and always leads."""

    leading = seen = True

    async def win(self) -> None:
        """Lead immediately."""

    async def hold(self) -> None:
        """Lead until cancelled."""
        await asyncio.Event().wait()

    async def release(self) -> None:
        """Do nothing: no other process waits."""


class Election:
    """A candidate for one Lease."""

    def __init__(
        self,
        api: Api,
        place: tuple[str, str],
        me: str,
        *,
        timing: Timing | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make a candidate.

        Args:
            api: A separate connection, so that a renewal does not queue behind other requests.
            place: The Lease's namespace and name.
            me: A name that no other process has at the same time. A pod's name stays the same
                when its container restarts, which then continues immediately.
            timing: The times of the election.
            clock: Monotonic seconds.
        """
        self._api = api
        self._namespace, self._name = place
        self._me = me
        self._timing = timing or Timing()
        self._clock = clock
        self._seen: ObservedLease | None = None
        self._body: dict[str, Any] | None = None
        self._renewed: float | None = None

    @property
    def seen(self) -> bool:
        """Whether the Lease was read or written once, so that this process can take over."""
        return self._seen is not None

    @property
    def leading(self) -> bool:
        """Whether this process may write now."""
        return self._left() > 0

    async def win(self) -> None:
        """Wait until this process holds the Lease."""
        while True:
            try:
                async with asyncio.timeout(self._timing.retry):
                    if await self._try():
                        _log.info("leads: %s has Lease %s", self._me, self._name)
                        return
            except LEASE_ERRORS as error:
                self._body = None
                _log.warning("Lease %s/%s: %s", self._namespace, self._name, error or "no answer")
            await asyncio.sleep(self._timing.retry * random.uniform(1, 1 + JITTER))  # noqa: S311

    async def hold(self) -> None:
        """Renew the Lease, which this process holds, until cancelled.

        Raises:
            LeaseLostError: This process does not hold it any more.
        """
        while self.leading:
            await asyncio.sleep(min(self._timing.retry, self._left()))
            try:
                async with asyncio.timeout(min(self._timing.retry, self._left())):
                    if not await self._try():
                        break
            except LEASE_ERRORS as error:
                # Whatever it was, the next attempt reads the holder from the Lease.
                self._body = None
                _log.warning("Lease %s not renewed: %s", self._name, error or "no answer")
        holder = self._seen.record.holder if self._seen else self._me
        why = "not renewed in time" if holder == self._me else f"it is {holder}'s now"
        self._renewed = None
        raise LeaseLostError(f"Lease {self._namespace}/{self._name} is lost: {why}")

    async def release(self) -> None:
        """Release the Lease, if this process holds it; call it when all work has ended."""
        if not self.leading or self._body is None:
            return
        record = replace(LeaseRecord.read(self._body), holder="", duration_seconds=1)
        self._renewed = None
        try:
            async with asyncio.timeout(self._timing.retry):
                await self._api.replace({**self._body, "spec": record.spec()}, OPERATOR)
        except LEASE_ERRORS as error:
            _log.warning("Lease %s not released, it runs out: %s", self._name, error)

    def _left(self) -> float:
        """Return for how many seconds this process certainly holds the Lease."""
        if self._renewed is None:
            return 0.0
        return self._renewed + self._timing.renew - self._clock()

    async def _try(self) -> bool:
        """Acquire or renew the Lease; return whether this process holds it.

        The time counts from before the request: no other process can have observed the renewal
        earlier.
        """
        began = self._clock()
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        body = self._body or await self._api.get("Lease", self._namespace, self._name)
        if body is None:
            record = claimed(LeaseRecord(), self._me, self._timing.lease, now)
            metadata = {"namespace": self._namespace, "name": self._name}
            lease = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": metadata,
                "spec": record.spec(),
            }
            self._body = await self._api.create(lease, OPERATOR)
        else:
            found = LeaseRecord.read(body)
            self._seen = observed(self._seen, found, self._clock())
            if not free(self._seen, self._me, self._clock()):
                return False
            record = claimed(found, self._me, self._timing.lease, now)
            # Only the version that was read is replaced: of two candidates one is refused (409).
            self._body = await self._api.replace({**body, "spec": record.spec()}, OPERATOR)
        self._seen = observed(self._seen, record, self._clock())
        self._renewed = began
        return True
