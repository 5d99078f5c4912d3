"""The command line of the operator."""

import asyncio

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
