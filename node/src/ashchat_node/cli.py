"""`ashchat-node`: the node without the product."""

import time
from typing import Annotated

import typer
from rich.console import Console

from ashchat_node.errors import NodeError
from ashchat_node.node import Node
from ashchat_node.progress import PlainProgress

app = typer.Typer(
    help="A real one-node Kubernetes from packages: no Docker, no registry.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def up(
    *,
    keep_go_caches: Annotated[
        bool, typer.Option(help="Keep about 15 GB that make a changed tool build faster.")
    ] = False,
) -> None:
    """Build, start or resume the node and wait until it is Ready."""
    begun = time.monotonic()
    node = Node()
    progress = PlainProgress()
    status = node.up(progress)
    if not keep_go_caches and status.state == "running" and node.tools.caches_exist():
        node.tidy(progress)
    print(f"Kubernetes {status.kubernetes} is {status.state} ({time.monotonic() - begun:.1f} s).")
    if status.outdated:
        print("It was created by another version of this package; `down` and `up` re-create it.")
    print(f"export KUBECONFIG={status.kubeconfig}")


@app.command()
def down() -> None:
    """Remove the cluster and restore the machine; tools and images stay cached."""
    Node().down(PlainProgress())
    print("No node.")


@app.command()
def status() -> None:
    """Print the node's state. The exit code is 0 only if it is running."""
    found = Node().status()
    print(f"{found.state} {found.kubernetes}".strip())
    if found.state != "running":
        raise typer.Exit(1)


@app.command()
def clean() -> None:
    """Remove the cluster, the tools, the images and the logs."""
    Node().clean(PlainProgress())
    print("No node, no caches.")


def main() -> None:
    """Run the command line; on failure print the step, the end of its log and what to do."""
    try:
        app()
    except NodeError as error:
        console = Console(stderr=True, highlight=False)
        console.print(f"[bold red]{error.step} failed:[/] {error.message}")
        if error.log_tail:
            console.print(error.log_tail, style="dim", markup=False)
        console.print(f"[bold]{error.what_to_do}[/]")
        raise SystemExit(1) from error
