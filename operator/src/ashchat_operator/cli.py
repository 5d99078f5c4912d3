"""The command line of the operator."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import typer

from ashchat_operator import topology_cli

app = typer.Typer(
    no_args_is_help=True,
    help="The AshChat operator.",
    # Logs are JSON lines; a traceback with local variables could reveal a password.
    pretty_exceptions_enable=False,
)
app.add_typer(topology_cli.app, name="topology")


@app.command()
def run() -> None:
    """Manage the AshChats of a cluster. Settings: ASHCHAT_OPERATOR_* environment variables."""
    from ashchat_operator.main import run as serve
    from ashchat_operator.settings import Settings

    asyncio.run(serve(Settings()))


@app.command()
def check(address: str) -> None:
    """Check the operator whose /readyz is at ADDRESS. Exit code 1 if it is not ready."""
    from ashchat_operator.lifecycle import helm_hooks
    from ashchat_operator.settings import Settings

    _run_hook(helm_hooks.check(Settings(), address))


@app.command()
def drain() -> None:
    """Wait until no object needs the operator. Exit code 1 if some still do."""
    from ashchat_operator.lifecycle import helm_hooks
    from ashchat_operator.settings import Settings

    _run_hook(helm_hooks.drain(Settings()))


def _run_hook(work: Coroutine[Any, Any, str | None]) -> None:
    from ashchat_operator.lifecycle.helm_hooks import UnhealthyError

    try:
        message = asyncio.run(work)
    except UnhealthyError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    if message:
        typer.echo(message)
