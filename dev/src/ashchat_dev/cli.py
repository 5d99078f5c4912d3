"""`ashchat-dev`: what `make` runs."""

import contextlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, NoReturn

import typer
from rich.console import Console

from ashchat_dev import checks, cluster, graph, install, up
from ashchat_dev.docker_engine import DockerEngine
from ashchat_dev.images import ALL, ROOT, snapshot
from ashchat_dev.kind import supplies
from ashchat_dev.progress import Phases, display
from ashchat_dev.target import Target
from ashchat_node.errors import NodeError
from ashchat_node.paths import Paths, default_paths
from ashchat_node.progress import Progress

app = typer.Typer(
    help="AshChat for developers: a cluster, a running AshChat, its tests.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console(highlight=False)

Also = Callable[[Progress], Iterable[graph.Task]]
"""Returns further tasks of an `up`."""

SMOKE_CLUSTER: Final = {
    "CLUSTER": "kind",
    "KIND_CLUSTER_NAME": "ashchat-smoke",
    "KIND_PORT_OFFSET": "2000",
    "NODES": "1",
}
"""A kind cluster that shares neither name nor ports with another one."""


@app.command("up")
def up_() -> None:
    """Start a cluster and an AshChat; if anything was changed, show a conversation."""
    code = 0
    with _target(kind := _choice()) as target:
        if _up(target, kind):
            code = _demo()
        else:
            console.print("Nothing to do. [dim]make demo: the conversation again[/]")
        _later(target)
    raise typer.Exit(code)


@app.command("docker")
def docker_() -> None:
    """Install Docker and start its engine, unless one answers; for Debian, as root."""
    with display(console) as progress:
        started = DockerEngine().up(progress)
    console.print("Docker is started." if started else "Docker answers already.")


@app.command()
def down() -> None:
    """Remove the cluster, and stop Docker if `make docker` started it; what was built stays."""
    with _target(_choice(again=True)) as target, display(console) as progress:
        target.down(progress)
        DockerEngine().down(progress)
    console.print("No cluster.")


@app.command()
def clean() -> None:
    """Remove the cluster and every cache."""
    with _target(_choice(again=True)) as target, display(console) as progress:
        target.clean(progress)
        DockerEngine().down(progress)
    console.print("No cluster, no caches.")


@app.command()
def status() -> None:
    """Print the state of each component. The exit code is 0 only if AshChat is Ready."""
    with _target(_choice(again=True)) as target, display(console) as progress:
        resource = install.resource(target.programs(progress))
        ready, waiting = install.readiness(resource, target.references())
    for each in resource.get("status", {}).get("components", []):
        mark = "[green]✓[/]" if each.get("ready") else "[red]✗[/]"
        console.print(f"{mark} {each['name']:<10} [dim]{each.get('message', '')}[/]")
    console.print("Ready" if ready else f"not Ready, waits for {waiting}")
    raise typer.Exit(0 if ready else 1)


@app.command()
def demo() -> None:
    """Two people sign up and talk, each in their own language."""
    raise typer.Exit(_demo())


@app.command("bench-operator")
def bench_operator() -> None:
    """Measure the operator, and write it to results/operator/. SOAK_MINUTES=30, ONLY=<parts>."""
    raise typer.Exit(_module("ashchat_e2e.bench.operator"))


@app.command("bench-auth")
def bench_auth() -> None:
    """Sign in 200 times at once, and write what was measured to results/auth/."""
    raise typer.Exit(_module("ashchat_e2e.bench.auth"))


@app.command("bench-chat")
def bench_chat() -> None:
    """Measure chat and its peers, and write it to results/chat/. ONLY=peers,idle,service."""
    raise typer.Exit(_module("ashchat_e2e.bench.chat.main"))


@app.command()
def lint() -> None:
    """Run the static checks: format, lint, types, layers, phrases, spelling."""
    raise typer.Exit(0 if checks.run(checks.LINT, console) else 1)


@app.command()
def unit() -> None:
    """Run the unit tests and the manifest tests. T=<paths or ids>, ARGS=<pytest arguments>."""
    raise typer.Exit(_run(checks.unit(_given("T"), _given("ARGS"))))


@app.command("test-e2e")
def test_e2e() -> None:
    """Run end-to-end tests on the running AshChat. T=<paths or ids>, MARK=<marks>, ARGS=<…>."""
    raise typer.Exit(
        _run(checks.e2e(_given("T"), _given("MARK"), _given("ARGS")), up.environment())
    )


@app.command()
def smoke() -> None:
    """Run the end-to-end tests to run after each change: sign-up, chat, translation, repair."""
    raise typer.Exit(_run(checks.e2e(marks="smoke", arguments=_given("ARGS")), up.environment()))


@app.command("smoke-kind")
def smoke_kind() -> None:
    """Run `smoke` on a kind cluster that exists only for it; Docker is started if necessary."""
    raise typer.Exit(0 if _smoke_kind() else 1)


@app.command()
def soak() -> None:
    """Run property tests with new examples and end-to-end tests with whole sweeps: 60 minutes."""
    with _target(kind := _choice()) as target:
        _up(target, kind)
        _later(target)
    raise typer.Exit(0 if checks.run(checks.soak(), console, up.environment()) else 1)


@app.command("test-nodes")
def test_nodes() -> None:
    """Bring AshChat up on a kind cluster of three nodes, and run the tests of lost nodes."""
    environ = {"NODES": "3", **os.environ, "CLUSTER": "kind"}
    with _target(kind := _choice(environ=environ), environ) as target:
        _up(target, kind)
        _later(target)
    raise typer.Exit(_run(checks.nodes(_given("ARGS")), up.environment()))


@app.command()
def test() -> None:
    """Run everything: static checks, unit tests, manifests, end-to-end tests."""
    raise typer.Exit(0 if _test() else 1)


@app.command()
def ci() -> None:
    """Run `test`, then `smoke-kind` with a node image that is built during `up`."""
    passed = _test(also=partial(supplies.ahead, default_paths()))
    raise typer.Exit(0 if passed and _smoke_kind() else 1)


def _test(also: Also | None = None) -> bool:
    charted = (Paths().bin / "helm").exists()
    console.print("Static checks and unit tests, `make up`, then the end-to-end tests.")
    if not _static_and_unit():
        return False
    try:
        cluster.choose(os.environ.get("CLUSTER"), cluster.look())
    except cluster.NoClusterError as error:
        console.print(f"skipped: the end-to-end tests. {error}")
        return not os.environ.get("CI")
    with _target(kind := _choice()) as target:
        _up(target, kind, also)
        _later(target)
    last = [*([] if charted else [checks.CHART]), checks.e2e(arguments=_given("ARGS"))]
    return checks.run(last, console, up.environment())


def _smoke_kind() -> bool:
    with display(console) as progress:
        started = DockerEngine().up(progress)
    try:
        with up.env_kept(), _target("kind", {**os.environ, **SMOKE_CLUSTER}) as target:
            return _smoke_on(target)
    finally:
        if started:
            with display(console) as progress:
                DockerEngine().down(progress)


def _smoke_on(target: Target) -> bool:
    """Run `smoke` on a new cluster, and remove it."""
    try:
        _down(target)  # of an interrupted run
        _up(target, "kind")
        check = replace(checks.e2e(marks="smoke", arguments=_given("ARGS")), name="smoke on kind")
        return checks.run([check], console, up.environment())
    finally:
        _down(target)


def _down(target: Target) -> None:
    with display(console) as progress:
        target.down(progress)


def _given(name: str) -> str:
    """Return what the caller of make passed, such as T=…; empty if nothing."""
    return os.environ.get(name, "")


def _run(check: checks.Check, environ: Mapping[str, str] = os.environ) -> int:
    return 0 if checks.run([check], console, environ) else 1


def _static_and_unit() -> bool:
    """Run the static checks alongside the unit tests; print their output after the tests'."""
    printed = io.StringIO()
    with ThreadPoolExecutor(1) as executor:
        linting = executor.submit(checks.run, checks.LINT, Console(file=printed, highlight=False))
        passed = checks.run([checks.unit()], console)
        linted = linting.result()
    console.print(printed.getvalue(), end="", markup=False)
    return passed and linted


def _up(target: Target, kind: cluster.Kind, also: Also | None = None) -> bool:
    """Bring AshChat up and print where it is; return whether anything had to be done."""
    console.print(target.described(), soft_wrap=True)
    phases = Phases()
    with display(console) as progress:
        running = up.up(target, kind, progress, phases, also(progress) if also else ())
    if running.changed:
        console.print()
        console.print(phases.table())
        console.print()
    console.print(f"AshChat     {running.url}\nmailbox     {running.mailbox_url}")
    console.print(f"kubeconfig  {running.programs.kubeconfig}", soft_wrap=True)
    return running.changed


def _later(target: Target) -> None:
    """Build what only tests need, and tidy the disk."""
    with display(console) as progress:
        graph.run(target.later(progress), {})


@contextlib.contextmanager
def _target(kind: cluster.Kind, environ: Mapping[str, str] = os.environ) -> Iterator[Target]:
    with snapshot(ALL) as sources:
        yield up.target_of(kind, sources, environ)


def _demo() -> int:
    return _module("ashchat_dev.demo")


def _module(name: str) -> int:
    """Run a module against the AshChat of the last `up`; return its exit code."""
    sys.stdout.flush()
    done = subprocess.run([sys.executable, "-m", name], cwd=ROOT, check=False, env=up.environment())
    return done.returncode


def _choice(*, again: bool = False, environ: Mapping[str, str] = os.environ) -> cluster.Kind:
    """Return the cluster to use; `again`: by default the one that was used last."""
    wanted = environ.get("CLUSTER") or (up.used() if again else None)
    try:
        return cluster.choose(wanted, cluster.look())
    except cluster.NoClusterError as error:
        console.print(str(error))
        raise typer.Exit(1) from None


def main() -> NoReturn:
    """Run the command line; on failure print the step, its log and what to do."""
    code: int | str | None = 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # cleans up
    try:
        app()
    except SystemExit as error:
        code = error.code
    except NodeError as error:
        first = None if error.__suppress_context__ else error.__context__
        if isinstance(first, NodeError):  # `error` is of the removal after it
            _print_failure(first)
        _print_failure(error)
        code = 1
    _end_children()
    sys.stdout.flush()
    # Threads of builds that nobody waits for any more must not hold the exit up.
    os._exit(code if isinstance(code, int) else 0)


def _print_failure(error: NodeError) -> None:
    console.print(f"\n[bold red]failed:[/] {error.step}: {error.message}")
    if error.log_tail:
        console.print(error.log_tail, markup=False, style="dim", soft_wrap=True)
    console.print(error.what_to_do, markup=False, soft_wrap=True)


def _end_children() -> None:
    """End the builds that were started here and still run; their finished parts are kept."""
    for listed in Path("/proc/self/task").glob("*/children"):
        for process in listed.read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(process), signal.SIGTERM)
