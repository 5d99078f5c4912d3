"""The command line of the operator."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import typer

from ashchat_operator import topology_cli

app = typer.Typer(
    no_args_is_help=True,
    help="The AshChat operator.",
    # Logs are JSON lines; and a trace with local variables could show a password.
    pretty_exceptions_enable=False,
)
app.add_typer(topology_cli.app, name="topology")


@app.command()
def run() -> None:
    """Look after AshChats in a cluster; settings come from ASHCHAT_OPERATOR_* variables."""
    from ashchat_operator.main import run as serve
    from ashchat_operator.settings import Settings

    asyncio.run(serve(Settings()))


@app.command()
def check(address: str) -> None:
    """Tell whether the operator whose /readyz is at ADDRESS is well; exit code 1: it is not."""
    from ashchat_operator.lifecycle import helm_hooks
    from ashchat_operator.settings import Settings

    _told(helm_hooks.check(Settings(), address))


@app.command()
def drain() -> None:
    """Wait until nothing needs the operator any more; exit code 1: something will."""
    from ashchat_operator.lifecycle import helm_hooks
    from ashchat_operator.settings import Settings

    _told(helm_hooks.drain(Settings()))


def _told(work: Coroutine[Any, Any, str | None]) -> None:
    from ashchat_operator.lifecycle.helm_hooks import UnhealthyError

    try:
        says = asyncio.run(work)
    except UnhealthyError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    if says:
        typer.echo(says)
