"""Commands about dead letters: dlq list, show and replay."""

import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ashchat_cli import letters
from ashchat_cli.commands.common import (
    Context,
    Kubeconfig,
    Name,
    Namespace,
    Output,
    QueueName,
    Target,
    console,
    queue_names,
    run,
    usage_error,
)
from ashchat_cli.faults import Exit
from ashchat_cli.objects import Object
from ashchat_cli.output import Format, document
from ashchat_core.topology import QUEUES, QueueSpec

if TYPE_CHECKING:
    from ashchat_cli.broker import Broker

T = TypeVar("T")


def _spec(queue: str) -> QueueSpec:
    found = letters.spec_of(queue)
    if found is None:
        raise usage_error(f"there is no queue {queue}; there are: {', '.join(queue_names())}")
    return found


def _with_broker(target: Target, work: "Callable[[Broker], Awaitable[T]]") -> T:
    """Run a function with a connection to the broker of an AshChat."""

    async def whole() -> T:
        from ashchat_cli.reach import broker_of

        async with (
            target.selected() as (cluster, resource),
            broker_of(cluster, resource) as broker,
        ):
            return await work(broker)

    return run(whole())


def dlq_list(
    *,
    name: Name = "",
    every: Annotated[
        bool, typer.Option("--all", help="Include queues without dead letters.")
    ] = False,
    namespace: Namespace = "",
    output: Output = Format.TEXT,
    context: Context = "",
    kubeconfig: Kubeconfig = "",
) -> None:
    """List the queues that have dead letters, and how many.

    Example: kubectl ashchat dlq list demo
    """

    async def work(broker: "Broker") -> Any:
        return await broker.depths(spec.dead for spec in QUEUES)

    depths = _with_broker(Target(name, namespace, context, kubeconfig), work)
    items: list[Object] = [
        {
            "queue": spec.name.value,
            "deadLetterQueue": spec.dead,
            "reader": spec.reader.value,
            "messages": depths[spec.dead].messages if depths[spec.dead] else 0,
            "there": depths[spec.dead] is not None,
        }
        for spec in QUEUES
    ]
    items = [each for each in items if every or each["messages"] or not each["there"]]
    if output is not Format.TEXT:
        typer.echo(document("DeadLetterQueueList", {"items": items}, output))
        return
    if not items:
        typer.echo("no dead letters")
        return
    table = Table("queue", "reader", "dead letters", box=None, pad_edge=False)
    for each in items:
        messages = str(each["messages"]) if each["there"] else "missing"
        table.add_row(each["queue"], each["reader"], messages)
    console().print(table)


def dlq_show(
    *,
    queue: QueueName,
    name: Name = "",
    limit: Annotated[
        int, typer.Option(min=1, max=1000, help="Maximum number, the oldest first.")
    ] = 10,
    body: Annotated[
        bool,
        typer.Option("--body", help="Include the bodies: users' texts, addresses, codes."),
    ] = False,
    namespace: Namespace = "",
    output: Output = Format.TEXT,
    context: Context = "",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Show dead letters of a queue: why and when each was dead-lettered, and what it is about.

    The messages stay in the queue, in their order. Texts, names, addresses, codes and hashes
    are hidden unless --body is given.

    Examples:
      kubectl ashchat dlq show TRANSLATE_QUEUE demo

      kubectl ashchat dlq show translate --limit 1 --body -o json
    """

    async def work(broker: "Broker") -> Any:
        return await broker.look(_spec(queue), limit)

    found = [
        letter.data(whole=body)
        for letter in _with_broker(Target(name, namespace, context, kubeconfig), work)
    ]
    if output is not Format.TEXT:
        data = {"queue": _spec(queue).name.value, "items": found}
        typer.echo(document("DeadLetterList", data, output))
        return
    if not found:
        typer.echo("no dead letters")
    for each in found:
        _print_letter(each, body=body)


def _print_letter(each: Object, *, body: bool) -> None:
    out = console()
    head = Text.assemble((f"{each['position']}  {each['type']}  ", "bold"))
    head.append(f"{each['reason']}", "red")
    head.append(f"  {each['died']}  id {each['id'] or '(none)'}", "dim")
    out.print(head, soft_wrap=True)
    if each["why"]:
        out.print(Text(f"   {each['why']}"), soft_wrap=True)
    if each.get("problem"):
        out.print(Text(f"   {each['problem']}", "yellow"), soft_wrap=True)
    for key, value in each["fields"].items():
        out.print(Text(f"   {key}: {value}"), soft_wrap=True)
    if body:
        out.print(Text(f"   body: {each['body']}"), soft_wrap=True)


def dlq_replay(
    *,
    queue: QueueName,
    name: Name = "",
    ids: Annotated[
        list[str] | None, typer.Option("--id", help="A message's id; can be repeated.")
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="This many, the oldest first.")] = 0,
    every: Annotated[bool, typer.Option("--all", help="All that are in the queue now.")] = False,
    namespace: Namespace = "",
    output: Output = Format.TEXT,
    context: Context = "",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Send dead letters to their original queue again.

    The broker confirms each message before it is removed from the dead letters. If the command
    is interrupted, a message may be in both queues, but never in neither; consumers handle a
    duplicate once. A message that is dead-lettered again is not sent twice by the same call.
    Exit code 0 if all selected messages were sent.

    Examples:
      kubectl ashchat dlq replay TRANSLATE_QUEUE demo --all

      kubectl ashchat dlq replay translate --id 0198c1c8-7d2a-7e11-b7a5-0a7c
    """
    if not (ids or limit or every):
        Console(stderr=True, highlight=False).print("error: use --id, --limit or --all")
        raise typer.Exit(Exit.USAGE)
    chosen = set(ids or ())

    async def work(broker: "Broker") -> list[Any]:
        most = limit or len(chosen) or sys.maxsize
        replay = broker.replay(
            _spec(queue),
            lambda letter: not chosen or letter.message_id in chosen,
            most,
        )
        return [each async for each in replay]

    sent = _with_broker(Target(name, namespace, context, kubeconfig), work)
    items = [
        {"id": each.letter.message_id, "sent": not each.problem, "problem": each.problem}
        for each in sent
    ]
    done = [each for each in items if each["sent"]]
    missing = sorted(chosen - {each["id"] for each in items})
    if output is not Format.TEXT:
        data = {"queue": _spec(queue).name.value, "items": items, "notFound": missing}
        typer.echo(document("Replay", data, output))
    else:
        typer.echo(f"sent {len(done)} to {_spec(queue).name.value}")
        for each in items:
            if each["problem"]:
                typer.echo(f"not sent: {each['id']}: {each['problem']}")
        for each_id in missing:
            typer.echo(f"not found: {each_id}")
    if missing and not items:
        raise typer.Exit(Exit.NOT_FOUND)
    raise typer.Exit(Exit.OK if len(done) == len(items) and not missing else Exit.NOT_OK)
