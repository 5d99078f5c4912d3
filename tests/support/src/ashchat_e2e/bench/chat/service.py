"""The chat service itself, as a plain process on real backends: RabbitMQ, Redis, FerretDB.

As docs/operations/run-without-kubernetes.md describes it: a second AshChat on the backends of the
running one, with its own virtual host, users and databases. It is removed at the end.
"""

import asyncio
import os
import secrets
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pymongo import AsyncMongoClient

from ashchat_chat.adapters.mongo_store import Store
from ashchat_chat.rooms.ports import Profile
from ashchat_chat.rooms.views import Role, RoomView
from ashchat_core.credentials import Credentials
from ashchat_core.mongo import Mongo
from ashchat_core.tokens import device_hash
from ashchat_dev.kube.cluster import Cluster
from ashchat_e2e.bench.chat.load import GENERATOR_CORE, CannotMeasureError, Client
from ashchat_e2e.bench.chat.servers import Server, cpu_seconds
from ashchat_e2e.servers import admin_environment, take_away
from ashchat_operator.topology_cli import read_admin

REDIS_URI: Final = "ASHCHAT_ADMIN_REDIS_URI"
CACHE_URI: Final = "ASHCHAT_ADMIN_CACHE_URI"
SOCKETS_PER_USER: Final = 20
DEVICE: Final = "bench-device"
TOKEN_SECONDS: Final = 3_600
BACKENDS: Final = {
    "mongodb": ("mongodb", 27017),
    "redis": ("cache", 6379),
    "rabbitmq": ("rabbitmq", 5672),
}
"""By credential: the component and its port. The running chat service's publications would be
received in its own Redis.
"""

STORES: Final = ("postgres", "ferretdb", "redis-server", "beam.smp")
"""Processes of the backends, whose CPU is reported apart."""


@dataclass(frozen=True, slots=True)
class Service:
    """A chat service that can be started, and a database to fill before."""

    server: Server
    folder: Path
    mongodb: str

    def clients(
        self, users: Sequence[str], rooms: Sequence[tuple[str, ...]], senders: int
    ) -> list[Client]:
        """Return one socket for each entry of rooms, of the users in turn."""
        tokens = {user: self._token(user) for user in users}
        return [
            Client(
                rooms=tuple(room.replace("USER", users[number % len(users)]) for room in topics),
                query=urlencode(
                    {
                        "token": tokens[users[number % len(users)]],
                        "device_unique_id": DEVICE,
                        "preferred_language": "en",
                        "vsn": "2.0.0",
                    }
                ),
                sends=number < senders,
            )
            for number, topics in enumerate(rooms)
        ]

    def _token(self, user: str) -> str:
        """Return an access token, signed with the key that the service trusts."""
        keys = self.folder / "signing-keys"
        kid = (keys / "active").read_text(encoding="ascii").strip()
        key: Any = load_pem_private_key((keys / f"{kid}.pem").read_bytes(), None)
        now = int(time.time())
        claims = {
            "iss": "ashchat-auth-service", "aud": "ashchat", "sub": user, "sid": f"s-{user}",
            "epoch": 1, "type": "MAIN", "iat": now, "nbf": now, "exp": now + TOKEN_SECONDS,
            "jti": uuid.uuid4().hex, "dev": device_hash(DEVICE),
        }  # fmt: skip
        headers = {"kid": kid, "typ": "at+jwt"}
        return jwt.encode(claims, key, algorithm="ES256", headers=headers)

    async def fill(self, rooms: Sequence[tuple[str, Sequence[str]]]) -> None:
        """Store users' profiles, and rooms with their members."""
        users = sorted({user for _, members in rooms for user in members})
        mongo = Mongo(Credentials(self.folder / "chat"))
        store = Store(mongo)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(mongo.close)
            await store.create_indexes()
            for user in users:
                await store.add_profile(Profile(user, user, f"{user}_bench", "en"))
            client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(self.mongodb)
            await stack.enter_async_context(client)
            now = datetime.now(UTC)
            await client.get_default_database()["rooms"].insert_many(
                [
                    {
                        "_id": room,
                        "pair": room,
                        "founding": [
                            {
                                "kind": "members",
                                "changes": [{"user": one, "role": Role.MEMBER} for one in members],
                            }
                        ],
                        "view": RoomView(room=room).model_dump(),
                        "created_at": now,
                        "active_at": now,
                    }
                    for room, members in rooms
                ]
            )  # fmt: skip


async def _addresses(cluster: Cluster) -> dict[str, str]:
    """Return the addresses of the backends' pods."""
    found = {}
    for backend, (component, _) in BACKENDS.items():
        pods = await cluster.pods(component)
        if not pods:
            raise CannotMeasureError(f"No pod of {component} is ready.")
        found[backend] = (await cluster.read("pods", pods[0]))["status"]["podIP"]
    return found


@asynccontextmanager
async def prepared(cluster: Cluster, folder: Path) -> AsyncIterator[Service]:
    """Declare a second AshChat on the backends, and remove it at the end.

    Raises:
        CannotMeasureError: It could not be declared.
    """
    name = f"bench-{secrets.token_hex(3)}"
    async with admin_environment(cluster) as running:
        environment = {**running, REDIS_URI: running[CACHE_URI]}
        try:
            await _declare(folder, name, environment)
            addresses = await _addresses(cluster)
            for backend, address in addresses.items():
                _redirect(folder / "chat" / f"{backend}.uri", address, BACKENDS[backend][1])
            yield Service(
                _server(folder),
                folder,
                (folder / "chat" / "mongodb.uri").read_text("utf-8").strip(),
            )
        finally:
            await take_away(read_admin(environment, name), name)


async def _declare(folder: Path, name: str, environment: dict[str, str]) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from ashchat_operator.cli import app; app()",
        "topology", "apply", f"--folder={folder}", f"--name={name}",
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output = (await process.communicate())[0].decode()
    if process.returncode:
        raise CannotMeasureError(f"topology apply failed: {output[-500:]}")


def _redirect(file: Path, host: str, port: int) -> None:
    """Let a connection URI name a pod: a forwarded port would be measured, too."""
    parts = urlsplit(file.read_text(encoding="utf-8").strip())
    login = parts.netloc.rpartition("@")[0]
    file.write_text(parts._replace(netloc=f"{login}@{host}:{port}").geturl(), encoding="utf-8")


def _server(folder: Path) -> Server:
    return Server(
        "AshChat, everything stored",
        (sys.executable, "-m", "ashchat_chat"),
        "phoenix",
        "/socket/websocket",
        "",
        environment={
            "ASHCHAT_CREDENTIALS_DIR": str(folder / "chat"),
            "ASHCHAT_JWKS_FILE": str(folder / "jwks" / "jwks.json"),
            "ASHCHAT_BIND": "127.0.0.1",
            "ASHCHAT_PORT": "PORT",
            "ASHCHAT_PRIVATE_PORT": "0",
            # All clients have the same address.
            "ASHCHAT_REQUESTS_PER_NETWORK_PER_MINUTE": "10000000",
            "ASHCHAT_LOG_LEVEL": "WARNING",
        },
    )


def _processes(names: Sequence[str]) -> Iterator[tuple[str, int]]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                name = (folder / "comm").read_text(encoding="utf-8").strip()
            except OSError:
                continue
            if name in names:
                yield name, int(folder.name)


def stores_cpu() -> dict[str, float]:
    """Return the CPU seconds of the backends' processes on this machine, by name."""
    used: dict[str, float] = dict.fromkeys(STORES, 0.0)
    for name, pid in _processes(STORES):
        used[name] += cpu_seconds(pid)
    return used


@contextmanager
def stores_on_the_generators_core() -> Iterator[None]:
    """Keep the backends off the server's core."""
    former: dict[int, set[int]] = {}
    for _, pid in _processes(STORES):
        for task in Path(f"/proc/{pid}/task").iterdir():
            thread = int(task.name)
            try:
                former[thread] = os.sched_getaffinity(thread)
                os.sched_setaffinity(thread, {GENERATOR_CORE})
            except OSError:
                continue
    try:
        yield
    finally:
        for thread, cores in former.items():
            try:
                os.sched_setaffinity(thread, cores)
            except OSError:
                continue
