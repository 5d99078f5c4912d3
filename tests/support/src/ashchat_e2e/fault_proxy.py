"""A reverse proxy for the API server that fails a chosen call, and an operator that uses it.

The faults are those that a client meets over years: refusals, an overloaded server, no response,
a connection that breaks before or after the server handled the request, and watches that fall
silent or are too old. Everything else is forwarded to the real API server, with the permissions of
the operator's own account.
"""

import asyncio
import json
import os
import re
import socket
import struct
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import cycle, islice, takewhile
from pathlib import Path
from typing import Any, Final

import httpx2
import yaml
from aiohttp import ClientConnectionError, web

from ashchat_dev.kube.cluster import Cluster
from ashchat_e2e.outages import OPERATOR
from ashchat_e2e.sampling import sample, whole
from ashchat_e2e.temporary_namespace import namespaces
from ashchat_operator.resource.images import COMPONENTS

WRITES: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
LATER_S: Final = 1
"""The value of Retry-After."""

LOCALHOST: Final = "127.0.0.1"
STOPPED_S: Final = 20.0
WATCH_SILENCE_S: Final = 15.0
"""Seconds without an event after which the proxied operator reopens a watch."""

_QUICK: Final = {
    "resync_seconds": "1.5",
    "progress_seconds": "0.4",
    "watch_silence_seconds": str(WATCH_SILENCE_S),
}
WATCH_S: Final = 600.0
_NAMESPACE: Final = re.compile(r"/namespaces/([^/]+)/")
_PASS_START: Final = re.compile(r"GET ashchats/[^/]+")
"""The call that begins a reconcile pass."""

_DROPPED: Final = frozenset({"host", "authorization", "content-length", "transfer-encoding"})


class Fault(StrEnum):
    """How a call fails."""

    ERROR = "500"
    CONFLICT = "409"
    LATER = "429 with Retry-After"
    NO_ANSWER = "handled, and no answer"
    RESET_BEFORE = "reset before it is handled"
    RESET_AFTER = "reset after it is handled"


class Tried(StrEnum):
    """Which pairs of call and fault are tried."""

    FEW = "few"
    """Faults that the seed draws, each once, on a call that it draws; the sweeps take turns."""
    EACH = "each"
    """Every call with one of the faults, in turn."""
    ALL = "all"

    @classmethod
    def wanted(cls) -> "Tried":
        """Return the value of ASHCHAT_API_FAULTS; by default `few`, and `each` in `make soak`.

        Raises:
            ValueError: The value is not valid.
        """
        return cls(os.environ.get("ASHCHAT_API_FAULTS", cls.EACH if whole() else cls.FEW))

    def cases(
        self, calls: Mapping[str, int], *, few: int = len(Fault)
    ) -> list[tuple[str, int, Fault]]:
        """Return which calls fail, and how: the sweep, the call's number in it, the fault.

        Args:
            calls: How many calls each sweep has; they are numbered from 0.
            few: How many faults `FEW` tries.
        """
        faults = list(Fault)
        every = [(sweep, number) for sweep, count in calls.items() for number in range(count)]
        if self is Tried.ALL:
            return [(*call, fault) for fault in faults for call in every]
        if self is Tried.EACH:
            return [(*call, faults[call[1] % len(faults)]) for call in every]
        (first,) = sample(range(len(calls)), 1, "the first sweep")
        sweeps = islice(cycle(calls), first, None)
        return [
            (sweep, number, fault)
            for sweep, fault in zip(sweeps, sample(faults, few, f"{few} faults"), strict=False)
            for number in sample(range(calls[sweep]), 1, sweep + fault)
        ]


@dataclass(slots=True)
class Traffic:
    """The operator's calls about one namespace, excluding watches and kopf's own lists."""

    calls: list[str] = field(default_factory=list)
    failing: int | None = None
    """The number, from 0, of the call that fails."""
    fault: Fault = Fault.ERROR
    failed: str = ""
    """The call that failed."""

    def begin(self, failing: int | None = None, fault: Fault = Fault.ERROR) -> None:
        """Restart the count, and let a call fail."""
        self.calls = []
        self.failing, self.fault, self.failed = failing, fault, ""

    def passes(self) -> list[list[str]]:
        """Return the calls of each reconcile pass; the last pass is still in progress."""
        found: list[list[str]] = []
        for call in self.calls:
            if _PASS_START.fullmatch(call):
                found.append([])
            if found:
                found[-1].append(call)
        return found

    def settled(self, quiet: int = 2) -> bool:
        """Return whether this many complete passes in succession wrote nothing."""
        whole = self.passes()[:-1]
        return len(whole) >= quiet and not any(map(_writes, whole[-quiet:]))

    def distinct(self) -> list[str]:
        """Return the calls up to the end of the first of the final passes without a write.

        The later passes make exactly the same calls.
        """
        quiet = list(takewhile(lambda calls: not _writes(calls), reversed(self.passes())))
        again = sum(map(len, quiet[:-1]))
        return self.calls[: len(self.calls) - again]

    def count(self, method: str, path: str) -> Fault | None:
        """Record a call; return how it fails, if it does."""
        self.calls.append(f"{method} {path.rpartition('/namespaces/')[2].partition('/')[2]}")
        if self.failing != len(self.calls) - 1:
            return None
        self.failed = self.calls[-1]
        return self.fault


def _writes(calls: Sequence[str]) -> bool:
    return any(call.partition(" ")[0] in WRITES for call in calls)


@dataclass(slots=True)
class Watch:
    """An open watch."""

    namespace: str
    silent: bool = False
    expire: asyncio.Event = field(default_factory=asyncio.Event)


class Proxy:
    """Forwards to a cluster's API server."""

    def __init__(self, cluster: Cluster, account: str) -> None:
        self._cluster = cluster
        self._account = account
        self.traffic: defaultdict[str, Traffic] = defaultdict(Traffic)
        self.watches: list[Watch] = []
        self.refusing: Counter[str] = Counter()
        """How many watches of a namespace, and lists of its AshChats, are still to be refused."""
        self.url = ""

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[None]:
        """Serve on a free port while the context is open."""
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1)
        await runner.setup()
        try:
            await web.TCPSite(runner, LOCALHOST, 0).start()
            self.url = f"http://{LOCALHOST}:{runner.addresses[0][1]}"
            yield
        finally:
            await runner.cleanup()

    def silence(self, namespace: str) -> int:
        """Stop forwarding events to the open watches of a namespace; return their number."""
        found = [watch for watch in self.watches if watch.namespace == namespace]
        for watch in found:
            watch.silent = True
        return len(found)

    def listening(self, namespace: str) -> int:
        """Return how many watches of a namespace are open and not silent."""
        return sum(x.namespace == namespace and not x.silent for x in self.watches)

    def expire(self, namespace: str) -> int:
        """End the open watches of a namespace as too old (410); return their number."""
        found = [watch for watch in self.watches if watch.namespace == namespace]
        for watch in found:
            watch.expire.set()
        return len(found)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        found = _NAMESPACE.search(request.path)
        namespace = found.group(1) if found else ""
        watching = request.query.get("watch") in {"true", "1"}
        own_list = request.path.endswith("/ashchats")
        if (watching or own_list) and self.refusing[namespace]:
            self.refusing[namespace] -= 1
            return _refusal(Fault.LATER)
        if watching:
            return await self._watch(request, namespace)
        fault = None
        if namespace and not own_list:
            fault = self.traffic[namespace].count(request.method, request.path)
        if fault is Fault.RESET_BEFORE:
            return _reset(request)
        if fault in {Fault.ERROR, Fault.CONFLICT, Fault.LATER}:
            return _refusal(fault)
        body = await request.read()
        async with self._forward(request, body) as answer:
            content = await answer.aread()
            status, kind = answer.status_code, answer.headers.get("content-type", "")
        if fault is Fault.RESET_AFTER:
            return _reset(request)
        if fault is Fault.NO_ANSWER:
            await asyncio.Event().wait()  # until the client disconnects
        return web.Response(status=status, body=content, headers={"Content-Type": kind})

    async def _watch(self, request: web.Request, namespace: str) -> web.StreamResponse:
        watch = Watch(namespace)
        async with self._forward(request, b"") as answer:
            response = web.StreamResponse(status=answer.status_code)
            response.content_type = "application/json"
            await response.prepare(request)
            self.watches.append(watch)
            try:
                async with asyncio.TaskGroup() as group:
                    told = group.create_task(_tell(answer, response, watch))
                    group.create_task(_expire(told, response, watch))
            except* (ClientConnectionError, httpx2.HTTPError, ConnectionError):
                pass
            finally:
                self.watches.remove(watch)
        return response

    @asynccontextmanager
    async def _forward(self, request: web.Request, body: bytes) -> AsyncIterator[httpx2.Response]:
        headers = {k: v for k, v in request.headers.items() if k.lower() not in _DROPPED}
        headers |= {"Impersonate-User": self._account, "Accept-Encoding": "identity"}
        stream = self._cluster.stream(
            request.method, request.path_qs, headers=headers, content=body, seconds=WATCH_S
        )
        async with AsyncExitStack() as stack:
            # Not cancelled when the operator disconnects: the HTTP client does not close a
            # connection whose TLS handshake is cancelled.
            opening = asyncio.create_task(stack.enter_async_context(stream))
            try:
                answer = await asyncio.shield(opening)
            except asyncio.CancelledError:
                await asyncio.wait([opening])
                raise
            yield answer


async def _tell(answer: httpx2.Response, response: web.StreamResponse, watch: Watch) -> None:
    async for chunk in answer.aiter_raw():
        if not watch.silent:
            await response.write(chunk)
    watch.expire.set()


async def _expire(
    telling: "asyncio.Task[None]", response: web.StreamResponse, watch: Watch
) -> None:
    await watch.expire.wait()
    if telling.done():
        return
    telling.cancel()
    status = {"kind": "Status", "apiVersion": "v1", "code": 410, "reason": "Expired"}
    event = {"type": "ERROR", "object": {**status, "message": "too old resource version"}}
    await response.write(json.dumps(event).encode() + b"\n")


def _refusal(fault: Fault) -> web.Response:
    code = int(fault[:3])
    headers = {"Retry-After": str(LATER_S)} if fault is Fault.LATER else {}
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code}
    return web.json_response(
        {**status, "message": "as the test wants it"}, status=code, headers=headers
    )


def _reset(request: web.Request) -> web.Response:
    """Break the connection as a crashed peer does: with RST instead of an orderly close."""
    transport = request.transport
    if transport is not None:
        connection: socket.socket = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return web.Response()


@asynccontextmanager
async def operator(
    proxy: Proxy, namespaces: Sequence[str], folder: Path, **settings: str
) -> AsyncIterator[Path]:
    """Run the operator of this working tree for some namespaces; yield the path of its log.

    Args:
        proxy: The API server that the operator uses.
        namespaces: The namespaces that it reconciles.
        folder: The directory for its files.
        settings: More ASHCHAT_OPERATOR_* variables, with names in lower case.
    """
    config: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "it",
        "clusters": [{"name": "it", "cluster": {"server": proxy.url}}],
        "users": [{"name": "it", "user": {}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
    }
    (folder / "kubeconfig").write_text(yaml.safe_dump(config))
    images = {name: f"registry.invalid/{name}:0" for name in COMPONENTS}
    (folder / "images.yaml").write_text(yaml.safe_dump(images))
    with socket.create_server((LOCALHOST, 0)) as free:
        port = free.getsockname()[1]
    given = {
        "images_file": str(folder / "images.yaml"),
        "watch_namespaces": ",".join(namespaces),
        "private_port": str(port),
        **settings,
    }
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("ASHCHAT_")},
        "KUBECONFIG": str(folder / "kubeconfig"),
        **{f"ASHCHAT_OPERATOR_{key.upper()}": value for key, value in given.items()},
    }
    log = folder / "operator.log"
    with log.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "ashchat_operator",
            "run",
            env=environment,
            stdout=file,
            stderr=file,
        )
    try:
        yield log
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOPPED_S)
        except TimeoutError:
            process.kill()
            await process.wait()


@asynccontextmanager
async def proxied(
    cluster: Cluster, names: Sequence[str], folder: Path
) -> AsyncIterator[tuple[Proxy, list[Cluster]]]:
    """Run the operator of this working tree for new namespaces, behind a proxy.

    The cluster's operator must exclude them. Yields the proxy and the namespaces.

    Args:
        cluster: The cluster.
        names: The namespaces' names.
        folder: The directory for the operator's files.
    """
    proxy = Proxy(cluster, f"system:serviceaccount:{cluster.operator_namespace}:{OPERATOR}")
    async with (
        namespaces(cluster, names) as places,
        proxy.serve(),
        operator(proxy, names, folder, **_QUICK),
    ):
        yield proxy, places
