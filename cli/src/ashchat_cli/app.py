"""The command line: `ashchat`, and as a plugin `kubectl ashchat`."""

import sys
from typing import Final

import typer

from ashchat_cli.commands.control import pause, restart, resume, rotate
from ashchat_cli.commands.dlq import dlq_list, dlq_replay, dlq_show
from ashchat_cli.commands.inspect import doctor, status

HELP: Final = """Show the state of an AshChat, and operate it.

Every command takes the AshChat's NAME; it is optional if the namespace has exactly one.
status, doctor, dlq list and dlq show change nothing.

Examples:

  kubectl ashchat status -A              every AshChat, as a tree

  kubectl ashchat doctor demo            what is wrong, why, and what to do

  kubectl ashchat rotate demo --watch    new credentials, followed to the end

  kubectl ashchat dlq list demo          messages that could not be processed

Exit codes: 0 Ready, nothing found, done · 1 not Ready, warnings, not done · 2 usage ·
3 cluster or broker not reachable · 4 not found · 5 refused (a permission is missing) ·
6 doctor found errors.
"""

app = typer.Typer(
    no_args_is_help=True,
    help=HELP,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
dlq = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Dead letters: messages that their consumer gave up, stored in a separate queue.",
)
app.add_typer(dlq, name="dlq")
for command in (status, doctor, rotate, restart, pause, resume):
    app.command()(command)
dlq.command("list")(dlq_list)
dlq.command("show")(dlq_show)
dlq.command("replay")(dlq_replay)


def main() -> None:
    """Run the command line, under the name that the user typed."""
    plugin = sys.argv[0].rpartition("/")[2].startswith("kubectl-")
    app(prog_name="kubectl ashchat" if plugin else "ashchat")
