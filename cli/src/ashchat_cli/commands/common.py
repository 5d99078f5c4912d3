"""What all commands share: options, the console, and the end of a command.

Typer derives the options of a command from its parameters, so commands have more parameters than
other functions of ours. Modules that talk to the cluster are imported inside the commands, so that
completion and --help stay fast.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.console import Console
from rich.markup import escape

from ashchat_cli.faults import CliError, Exit
from ashchat_cli.objects import Object
from ashchat_cli.output import Format
from ashchat_core.topology import QUEUES

if TYPE_CHECKING:
    from ashchat_cli.cluster import Cluster

T = TypeVar("T")
_INTERRUPTED = 130


def queue_names() -> list[str]:
    """Return the names of all queues."""
    return [spec.name.value for spec in QUEUES]


Name = Annotated[
    str,
    typer.Argument(
        show_default=False, help="The AshChat; optional if the namespace has exactly one."
    ),
]
Namespace = Annotated[
    str,
    typer.Option("-n", "--namespace", show_default=False, help="Default: that of the context."),
]
Context = Annotated[
    str, typer.Option("--context", show_default=False, help="The context of the kubeconfig.")
]
Kubeconfig = Annotated[
    str,
    typer.Option(
        "--kubeconfig",
        envvar="KUBECONFIG",
        show_default=False,
        show_envvar=True,
        help="The kubeconfig file.",
    ),
]
Output = Annotated[Format, typer.Option("-o", "--output", help="text, or data for programs.")]
QueueName = Annotated[
    str,
    typer.Argument(
        show_default=False,
        metavar="QUEUE",
        autocompletion=queue_names,
        help="For example TRANSLATE_QUEUE; also short (translate) and with .dead.",
    ),
]


@dataclass(frozen=True, slots=True)
class Target:
    """The AshChat that a command is about, as the options name it."""

    name: str
    namespace: str
    context: str
    kubeconfig: str

    @asynccontextmanager
    async def connected(self) -> "AsyncIterator[Cluster]":
        """Connect to the cluster."""
        from ashchat_cli.cluster import Cluster, Where

        where = Where(self.kubeconfig, self.context, self.namespace)
        async with await Cluster.connect(where) as cluster:
            yield cluster

    @asynccontextmanager
    async def selected(self) -> "AsyncIterator[tuple[Cluster, Object]]":
        """Connect to the cluster and read the AshChat."""
        from ashchat_cli.reach import select

        async with self.connected() as cluster:
            yield cluster, await select(cluster, self.name)


def console() -> Console:
    """Return the console for text output."""
    return Console(highlight=False)


def run(work: Awaitable[T]) -> T:
    """Run to completion; a fault becomes a message on standard error and an exit code."""

    async def whole() -> T:
        return await work

    try:
        return asyncio.run(whole())
    except CliError as error:
        Console(stderr=True, highlight=False).print(
            f"[red]error:[/] {escape(str(error))}", soft_wrap=True
        )
        raise typer.Exit(error.code) from None
    except KeyboardInterrupt:
        raise typer.Exit(_INTERRUPTED) from None


def usage_error(message: str) -> CliError:
    """Return the fault of a wrong argument."""
    return CliError(Exit.USAGE, message)
