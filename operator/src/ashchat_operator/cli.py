"""The command line of the operator."""

import typer

from ashchat_operator import topology_cli

app = typer.Typer(no_args_is_help=True, help="The AshChat operator.")
app.add_typer(topology_cli.app, name="topology")
