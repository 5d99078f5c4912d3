"""The servers under load: how each is started, and what it uses."""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Final

from ashchat_e2e.bench.chat.load import SOURCES, CannotMeasureError

SERVER_CORE: Final = 0
START_SECONDS: Final = 60.0
PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Server:
    """A server that the benchmark can start."""

    name: str
    command: tuple[str, ...]
    """PORT stands for the port to listen on."""
    protocol: str
    path: str
    version: str
    query: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


def peers(programs: Path) -> tuple[list[Server], dict[str, str]]:
    """Return the servers to compare with, and those that are left out with the reason."""
    sources = SOURCES / "peers"
    python = sys.executable
    found = [
        Server(
            "AshChat's socket layer alone",
            (python, str(sources / "socket_layer.py"), "PORT"),
            "plain",
            "/socket",
            f"uvloop {version('uvloop')}, websockets {version('websockets')}",
        ),
        Server(
            "picows, plain broadcast",
            (python, str(sources / "picows_peer.py"), "PORT"),
            "plain",
            "/",
            version("picows"),
        ),
        Server(
            "Starlette + uvicorn",
            (python, str(sources / "starlette_peer.py"), "PORT"),
            "plain",
            "/socket",
            f"{version('starlette')} + {version('uvicorn')}",
        ),
        Server(
            "centrifuge (Go)",
            (str(programs / "centrifuge"), "-address", "127.0.0.1:PORT"),
            "centrifuge",
            "/socket",
            _centrifuge_version(),
            environment={"GOMAXPROCS": "1"},
        ),
    ]
    reason = _install_socketio(sources / "socketio")
    if reason:
        return found, {"Socket.IO": reason}
    found.append(
        Server(
            "Socket.IO (Node.js)",
            ("node", str(sources / "socketio" / "server.mjs"), "PORT"),
            "socketio",
            "/socket.io/",
            _socketio_version(sources / "socketio"),
            query="EIO=4&transport=websocket",
        )
    )
    return found, {}


def _install_socketio(folder: Path) -> str:
    """Install the packages in its lock; return why that is not possible, or an empty text."""
    if shutil.which("npm") is None:
        return "there is no npm"
    if (folder / "node_modules").is_dir():
        return ""
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    return "npm ci failed" if done.returncode else ""


def _socketio_version(folder: Path) -> str:
    lock = json.loads((folder / "package-lock.json").read_text(encoding="utf-8"))
    return str(lock["packages"]["node_modules/socket.io"]["version"])


def _centrifuge_version() -> str:
    lines = (SOURCES / "go.mod").read_text(encoding="utf-8").splitlines()
    name = "github.com/centrifugal/centrifuge "
    return next(line.partition(name)[2] for line in lines if name in line)


class Running:
    """A started server."""

    def __init__(self, server: Server, process: asyncio.subprocess.Process, port: int) -> None:
        self.server = server
        self._process = process
        self.url = f"ws://127.0.0.1:{port}{server.path}"

    @property
    def rss_bytes(self) -> int:
        """Resident memory of the process."""
        text = Path(f"/proc/{self._process.pid}/statm").read_text(encoding="ascii")
        return int(text.split()[1]) * PAGE_BYTES

    @property
    def cpu_seconds(self) -> float:
        """CPU time of the process since it was started."""
        return cpu_seconds(self._process.pid)


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process since it was started; 0.0 if it has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return 0.0
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def machine_cpu() -> float:
    """Return the CPU seconds that all processes and the kernel have used."""
    fields = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:9]
    user, nice, system, _idle, _waiting, *interrupts = map(int, fields)
    return (user + nice + system + sum(interrupts)) / TICKS


def kernel_bytes() -> int:
    """Return the memory of the kernel's objects, sockets among them."""
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("Slab:"):
            return int(line.split()[1]) * 1024
    return 0


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def started(server: Server) -> AsyncIterator[Running]:
    """Run a server on its core until the end of the context.

    Raises:
        CannotMeasureError: It does not listen.
    """
    port = free_port()
    settings = {k: v.replace("PORT", str(port)) for k, v in server.environment.items()}
    process = await asyncio.create_subprocess_exec(
        "taskset", "-c", str(SERVER_CORE),
        *(part.replace("PORT", str(port)) for part in server.command),
        env={**os.environ, **settings},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        await _listening(server, process, port)
        yield Running(server, process, port)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _listening(server: Server, process: asyncio.subprocess.Process, port: int) -> None:
    deadline = asyncio.get_running_loop().time() + START_SECONDS
    while asyncio.get_running_loop().time() < deadline:
        if process.returncode is not None:
            raise CannotMeasureError(f"{server.name} ended with {process.returncode}")
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.1)
        else:
            writer.close()
            return
    raise CannotMeasureError(f"{server.name} does not listen")
