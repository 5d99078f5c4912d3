"""Runs the load generator, which is written in Go, and reads what it measured."""

import asyncio
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from ashchat_dev.images import ROOT

SOURCES: Final = ROOT / "tests" / "load"
GENERATOR_CORE: Final = 1
BUILD_SECONDS: Final = 300.0


class CannotMeasureError(RuntimeError):
    """The benchmark cannot run here or now; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Client:
    """One socket of the generator."""

    rooms: tuple[str, ...] = ("bench",)
    query: str = ""
    sends: bool = False


@dataclass(frozen=True, slots=True)
class Load:
    """What the generator does; see tests/load/cmd/generator."""

    rate: float = 0.0
    """Messages a second, of all clients."""
    warmup_s: float = 2.0
    duration_s: float = 8.0
    heartbeat_s: float = 0.0
    acknowledge: bool = False
    stalled: int = 0
    drop: bool = False
    bytes: int = 100


def go() -> Path:
    """Return the compiler.

    Raises:
        CannotMeasureError: There is no Go.
    """
    found = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if found is None:
        raise CannotMeasureError("The load generator is written in Go: install Go 1.26.")
    return Path(found)


async def build(folder: Path, *names: str) -> None:
    """Build the programs in Go: the generator, a peer.

    Raises:
        CannotMeasureError: It cannot be built.
    """
    process = await asyncio.create_subprocess_exec(
        str(go()), "build", "-o", f"{folder}/", *(f"./cmd/{name}" for name in names),
        cwd=SOURCES, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(BUILD_SECONDS):
        errors = (await process.communicate())[1]
    if process.returncode:
        raise CannotMeasureError(f"go build failed: {errors.decode()[-500:]}")


async def run(
    generator: Path,
    *,
    url: str,
    protocol: str,
    clients: list[Client],
    load: Load,
    on: dict[str, Callable[[], None]],
) -> dict[str, Any]:
    """Run a load and return the generator's result.

    Args:
        generator: The built program.
        url: The server's address.
        protocol: How it is spoken to.
        clients: The sockets to open.
        load: What they do.
        on: Called at the generator's events: `joined`, `measuring`, `measured`.

    Raises:
        CannotMeasureError: The generator has ended without a result.
    """
    process = await asyncio.create_subprocess_exec(
        "taskset", "-c", str(GENERATOR_CORE), str(generator),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "GOMAXPROCS": "1"},
        limit=2**22,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    configuration = {
        "url": url,
        "protocol": protocol,
        "run": os.urandom(4).hex(),
        "clients": [asdict(one) for one in clients],
        **asdict(load),
    }
    process.stdin.write(json.dumps(configuration).encode())
    await process.stdin.drain()
    process.stdin.close()
    async for line in process.stdout:
        event: dict[str, Any] = json.loads(line)
        if event["event"] == "result":
            await process.wait()
            return event
        on.get(event["event"], lambda: None)()
    said = (await process.stderr.read()).decode()
    await process.wait()
    raise CannotMeasureError(f"the generator ended: {said[-300:]}")
