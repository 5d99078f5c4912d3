"""`ashchat-dev`: what `make` runs."""

import os
import subprocess
import sys
from typing import NoReturn

import typer
from rich.console import Console
from rich.table import Table

from ashchat_dev import checks, cluster
from ashchat_dev.images import ROOT
from ashchat_dev.up import MAILBOX_URL, URL, Phases, node_up
from ashchat_node.errors import NodeError
from ashchat_node.node import Node
from ashchat_node.progress import PlainProgress

app = typer.Typer(
    help="AshChat for developers: a cluster, a running AshChat, its tests.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console(highlight=False)


@app.command()
def up(*, demo: bool = True) -> None:
    """Bring up a whole AshChat, then let two people talk."""
    _up()
    if demo:
        sys.stdout.flush()
        done = subprocess.run([sys.executable, "-m", "ashchat_dev.demo"], cwd=ROOT, check=False)
        raise typer.Exit(done.returncode)


@app.command()
def down() -> None:
    """Remove the cluster; what was built stays in the cache."""
    if _choice() == "node":
        Node().down(PlainProgress())
    console.print("No cluster.")


@app.command()
def clean() -> None:
    """Remove the cluster and every cache."""
    if _choice() == "node":
        Node().clean(PlainProgress())
    console.print("No cluster, no caches.")


@app.command()
def lint() -> None:
    """Run the static checks."""
    raise typer.Exit(0 if checks.run(checks.LINT) else 1)


@app.command()
def unit() -> None:
    """Run the unit tests and the manifest tests."""
    raise typer.Exit(0 if checks.run(checks.UNIT) else 1)


@app.command()
def test() -> None:
    """Run everything: static checks, unit tests, manifests, the suite in the cluster."""
    passed = checks.run(checks.LINT) and checks.run(checks.UNIT)
    if not passed:
        raise typer.Exit(1)
    try:
        cluster.choose(os.environ.get("CLUSTER"), cluster.look())
    except cluster.NoCluster as error:
        console.print(f"the suite in the cluster is skipped: {error}")
        raise typer.Exit(1 if os.environ.get("CI") else 0) from None
    _up()
    raise typer.Exit(0 if checks.run(checks.CLUSTER) else 1)


def _up() -> None:
    if _choice() != "node":
        console.print("Only CLUSTER=node is built so far.")
        raise typer.Exit(1)
    phases = Phases()
    tools = node_up(PlainProgress(), phases)
    table = Table("phase", "seconds", box=None)
    for name, seconds in phases.seconds:
        table.add_row(name, f"{seconds:.1f}")
    table.add_row("all", f"{sum(seconds for _, seconds in phases.seconds):.1f}")
    console.print(table)
    console.print(f"AshChat     {URL}\nmailbox     {MAILBOX_URL}\nkubeconfig  {tools.kubeconfig}")


def _choice() -> cluster.Kind:
    try:
        return cluster.choose(os.environ.get("CLUSTER"), cluster.look())
    except cluster.NoCluster as error:
        console.print(str(error))
        raise typer.Exit(1) from None


def main() -> NoReturn:
    """Run; a failed step is told with its log and what to do."""
    try:
        app()
    except NodeError as error:
        console.print(f"\n[bold red]failed:[/] {error.step}: {error.message}", markup=True)
        if error.log_tail:
            console.print(error.log_tail, markup=False)
        console.print(error.what_to_do, markup=False)
        raise SystemExit(1) from None
    raise SystemExit(0)
