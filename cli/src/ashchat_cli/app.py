"""The command line: `ashchat`, and as a plugin `kubectl ashchat`."""

import asyncio
import secrets
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ashchat_cli import letters
from ashchat_cli.faults import CliError, Exit
from ashchat_cli.objects import Object
from ashchat_cli.output import Format, document
from ashchat_core.api.names import Annotation, restart_annotation
from ashchat_core.topology import QUEUES, QueueSpec, Service

# What talks to the cluster is imported where it is used: completing and --help stay quick.

T = TypeVar("T")
HELP: Final = """Ask an AshChat how it is, and operate it.

Every command takes the AshChat's NAME; it may be left out where the namespace has one.
Nothing is changed by status, doctor, dlq list and dlq show.

Examples:

  kubectl ashchat status -A              every AshChat, as a tree

  kubectl ashchat doctor demo            what is wrong, why, and what to do

  kubectl ashchat rotate demo --watch    new credentials, followed to the end

  kubectl ashchat dlq list demo          messages that were given up

Exit codes: 0 Ready, nothing found, done · 1 not Ready, warnings, not done · 2 usage ·
3 cluster or broker not reached · 4 not found · 5 refused (a right is missing) ·
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
    help="Dead letters: messages that their reader gave up, kept in a queue of their own.",
)
app.add_typer(dlq, name="dlq")

COMPONENTS: Final = (
    *(service.value for service in Service),
    *("edge", "apertium"),
    *("rabbitmq", "redis", "cache", "mongodb"),
)
POLL_SECONDS: Final = 1.0
TAKEN_SECONDS: Final = 60.0
"""An operator that can rotate has taken the stamp by then."""


def _queues() -> list[str]:
    return [spec.name.value for spec in QUEUES]


def _components() -> list[str]:
    return list(COMPONENTS)


Name = Annotated[
    str,
    typer.Argument(
        show_default=False, help="The AshChat; may be left out where the namespace has one."
    ),
]
Namespace = Annotated[
    str, typer.Option("-n", "--namespace", show_default=False, help="Default: the context's.")
]
Context = Annotated[str, typer.Option("--context", show_default=False, help="Of the kubeconfig.")]
Kubeconfig = Annotated[
    str,
    typer.Option(
        "--kubeconfig", envvar="KUBECONFIG", show_default=False, show_envvar=True, help="The file."
    ),
]
Output = Annotated[Format, typer.Option("-o", "--output", help="text, or data for programs.")]
QueueName = Annotated[
    str,
    typer.Argument(
        show_default=False,
        metavar="QUEUE",
        autocompletion=_queues,
        help="For example TRANSLATE_QUEUE; short (translate) and with .dead too.",
    ),
]


def main() -> None:
    """Run the command line; a kubectl plugin calls itself what people type."""
    plugin = sys.argv[0].rpartition("/")[2].startswith("kubectl-")
    app(prog_name="kubectl ashchat" if plugin else "ashchat")


def _console() -> Console:
    return Console(highlight=False)


def _run(work: Awaitable[T]) -> T:
    """Run to the end; a fault becomes a sentence on standard error and an exit code."""

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
        raise typer.Exit(130) from None


def _fail(message: str) -> CliError:
    return CliError(Exit.USAGE, message)


def _spec(queue: str) -> QueueSpec:
    found = letters.spec_of(queue)
    if found is None:
        raise _fail(f"there is no queue {queue}; there are: {', '.join(_queues())}")
    return found


def _stamp() -> str:
    """Return a stamp: when, and something that no other stamp has."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}-{secrets.token_hex(2)}"


@app.command()
def status(
    *,
    name: Name = "",
    namespace: Namespace = "",
    all_namespaces: Annotated[
        bool, typer.Option("-A", "--all-namespaces", help="Every AshChat of the cluster.")
    ] = False,
    queues: Annotated[
        bool,
        typer.Option(help="Read the queues too (needs more rights, see docs/reference/cli.md)."),
    ] = True,
    output: Output = Format.TEXT,
    context: Context = "",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Show an AshChat as a tree: conditions, components with reasons, queues, rotation.

    Exit code 0 only if every AshChat shown is Ready for its newest spec, else 1.

    Examples:
      kubectl ashchat status

      kubectl ashchat status demo -n ashchat -o json

      kubectl ashchat status -A --no-queues
    """

    async def work() -> list[Object]:
        from ashchat_cli.cluster import Cluster, Where
        from ashchat_cli.objects import labels
        from ashchat_cli.reach import select
        from ashchat_cli.status import overview

        where = Where(kubeconfig, context, namespace)
        async with await Cluster.connect(where) as cluster:
            if name or not all_namespaces:
                found = [await select(cluster, name)]
            else:
                found = await cluster.list("ashchats", None)
            told = []
            for each in found:
                metadata = each["metadata"]
                own = labels(metadata["name"])
                pods = await cluster.list("pods", metadata["namespace"], own)
                depths, unread = await _depths(cluster, each) if queues else (None, "")
                told.append(overview(each, pods, depths, unread))
            return told

    told = _run(work())
    if output is Format.TEXT:
        from ashchat_cli.status import render

        console = _console()
        console.print(render(told) if told else Text("there is no AshChat"))
    else:
        typer.echo(document("StatusList", {"items": told}, output))
    raise typer.Exit(Exit.OK if all(each["ready"] for each in told) else Exit.NOT_OK)


async def _depths(cluster: Any, resource: Object) -> tuple[Any, str]:
    from ashchat_cli.reach import broker_of
    from ashchat_cli.status import names

    try:
        async with broker_of(cluster, resource) as broker:
            return await broker.depths(names()), ""
    except CliError as error:
        return None, str(error)


@app.command()
def doctor(
    *,
    name: Name = "",
    namespace: Namespace = "",
    output: Output = Format.TEXT,
    context: Context = "",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Look for the common faults; say what is, why, and what to do.

    Looks at the CustomResourceDefinition and the operator, Secrets, images, scheduling,
    volumes, crashes, memory, backends, network policies, mail, the public address and its
    certificate, queues, dead letters, clocks, and what was left paused or half rotated.
    What a right is missing for is skipped, and told. Exit code 0: nothing found; 1: warnings
    only; 6: errors.

    Examples:
      kubectl ashchat doctor

      kubectl ashchat doctor demo -n ashchat -o json | jq '.findings[].what'
    """

    async def work() -> Any:
        from ashchat_cli.cluster import Cluster, Where
        from ashchat_cli.facts import gather
        from ashchat_cli.reach import select

        async with await Cluster.connect(Where(kubeconfig, context, namespace)) as cluster:
            try:
                resource = await select(cluster, name)
            except CliError as error:
                # Without its definition there can be none: that is a finding, not the end.
                facts = await gather(cluster, None)
                if error.code is Exit.NOT_FOUND and facts.crd is False:
                    return facts
                raise
            return await gather(cluster, resource)

    from ashchat_cli.rules import Severity, examine

    facts = _run(work())
    findings = examine(facts)
    if output is Format.TEXT:
        _print_findings(_console(), findings, facts.skipped)
    else:
        data = {
            "name": facts.name,
            "namespace": facts.namespace,
            "findings": [finding.data() for finding in findings],
            "skipped": list(facts.skipped),
        }
        typer.echo(document("Diagnosis", data, output))
    if any(finding.severity is Severity.ERROR for finding in findings):
        raise typer.Exit(Exit.ERRORS)
    raise typer.Exit(Exit.NOT_OK if findings else Exit.OK)


def _print_findings(console: Console, findings: list[Any], skipped: Any) -> None:
    from ashchat_cli.rules import Severity

    for finding in findings:
        bad = finding.severity is Severity.ERROR
        mark = Text.assemble(("✗ error    ", "red") if bad else ("! warning  ", "yellow"))
        console.print(mark.append(finding.what, "bold"))
        if finding.why:
            console.print(Text(f"  why  {finding.why}"))
        # In one line, however long: it is there to be copied.
        console.print(Text(f"  do   {finding.do}", "cyan"), soft_wrap=True)
    if not findings:
        console.print(Text("✓ nothing found", "green"))
    for each in skipped:
        console.print(Text(f"not looked at: {each}", "dim"), soft_wrap=True)


@app.command()
def rotate(
    *,
    name: Name = "",
    kind: Annotated[
        str,
        typer.Option(
            show_default=False, help="Only this kind, as status names it; default: all of them."
        ),
    ] = "",
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow it to the end.")] = False,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to follow at most.")] = 900.0,
    namespace: Namespace = "",
    output: Output = Format.TEXT,
    context: Context = "",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Ask for new credentials now; with --watch, follow until the old ones are gone.

    Sets the annotation ashchat.dev/rotate (or ashchat.dev/rotate-KIND) to a new stamp. With
    --watch: exit code 0 when done, 1 when not done within --timeout (it goes on all the same).

    Examples:
      kubectl ashchat rotate demo --watch

      kubectl ashchat rotate demo --kind signing-keys
    """

    async def work() -> Object:
        from ashchat_cli.cluster import Cluster, Where
        from ashchat_cli.follow import annotation
        from ashchat_cli.reach import select

        async with await Cluster.connect(Where(kubeconfig, context, namespace)) as cluster:
            resource = await select(cluster, name)
            known = [each.get("name") for each in resource.get("status", {}).get("rotation", ())]
            if kind and known and kind not in known:
                raise _fail(f"there is no kind {kind}; there are: {', '.join(sorted(known))}")
            stamp = _stamp()
            await _annotate(cluster, resource, {annotation(kind): stamp})
            if not watch:
                return {"stamp": stamp, "done": False}
            return await _follow(
                cluster, resource, stamp, kind, timeout, quiet=output is not Format.TEXT
            )

    told = _run(work())
    if output is not Format.TEXT:
        typer.echo(document("Rotation", told, output))
    elif not watch:
        typer.echo(f"asked for a rotation, stamp {told['stamp']}; follow it with status")
    else:
        says = "done" if told["done"] else "not done; it goes on"
        typer.echo(f"{says}, {told['seconds']} s")
    raise typer.Exit(Exit.OK if told["done"] or not watch else Exit.NOT_OK)


async def _annotate(cluster: Any, resource: Object, wanted: Mapping[str, str | None]) -> Object:
    metadata = resource["metadata"]
    made: Object = await cluster.annotate(
        "ashchats", metadata["namespace"], metadata["name"], wanted
    )
    return made


async def _follow(
    cluster: Any, resource: Object, stamp: str, kind: str, timeout_s: float, *, quiet: bool
) -> Object:
    from ashchat_cli.follow import Follower

    metadata = resource["metadata"]
    began = time.monotonic()
    follower = Follower(stamp, kind, began)
    while not follower.done and time.monotonic() - began < timeout_s:
        found = await cluster.find("ashchats", metadata["namespace"], metadata["name"])
        if found is None:
            raise CliError(Exit.NOT_FOUND, f"AshChat {metadata['name']} was deleted meanwhile")
        now = time.monotonic()
        for news in follower.look(found.get("status", {}), now):
            if not quiet:
                typer.echo(f"{now - began:6.1f} s  {news}")
        taken = any(each.handled for each in follower.kinds.values())
        if not taken and now - began > TAKEN_SECONDS:
            raise CliError(
                Exit.NOT_OK,
                f"the operator did not take stamp {stamp} within {TAKEN_SECONDS:g} s: is it "
                "running, is the AshChat paused, is the operator too old? kubectl ashchat doctor",
            )
        await asyncio.sleep(POLL_SECONDS)
    return follower.data(time.monotonic())


@app.command()
def restart(
    component: Annotated[
        str,
        typer.Argument(
            show_default=False, autocompletion=_components, help="For example chat or rabbitmq."
        ),
    ],
    name: Name = "",
    namespace: Namespace = "",
    context: Context = "",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Have the operator restart one component's pods, one after the other.

    Sets the annotation ashchat.dev/restart-COMPONENT to a new stamp; the operator carries it
    out once, and says in status which stamp it handled.

    Example: kubectl ashchat restart chat demo
    """

    async def work() -> str:
        from ashchat_cli.cluster import Cluster, Where
        from ashchat_cli.reach import select

        async with await Cluster.connect(Where(kubeconfig, context, namespace)) as cluster:
            resource = await select(cluster, name)
            there = [each["name"] for each in resource.get("status", {}).get("components", ())]
            if component not in (there or COMPONENTS):
                known = ", ".join(sorted(there or COMPONENTS))
                raise _fail(f"there is no component {component}; there are: {known}")
            stamp = _stamp()
            await _annotate(cluster, resource, {restart_annotation(component): stamp})
            return stamp

    typer.echo(f"asked to restart {component}, stamp {_run(work())}")


@app.command()
def pause(
    name: Name = "", namespace: Namespace = "", context: Context = "", kubeconfig: Kubeconfig = ""
) -> None:
    """Have the operator change nothing of this AshChat until `resume`.

    Sets the annotation ashchat.dev/pause to true. Pods run on; nothing is repaired.

    Example: kubectl ashchat pause demo
    """
    _set_pause(name, namespace, context, kubeconfig, "true")
    typer.echo("paused: nothing is applied or repaired; kubectl ashchat resume ends it")


@app.command()
def resume(
    name: Name = "", namespace: Namespace = "", context: Context = "", kubeconfig: Kubeconfig = ""
) -> None:
    """Have the operator look after a paused AshChat again.

    Example: kubectl ashchat resume demo
    """
    _set_pause(name, namespace, context, kubeconfig, None)
    typer.echo("resumed")


def _set_pause(name: str, namespace: str, context: str, kubeconfig: str, value: str | None) -> None:
    async def work() -> None:
        from ashchat_cli.cluster import Cluster, Where
        from ashchat_cli.reach import select

        async with await Cluster.connect(Where(kubeconfig, context, namespace)) as cluster:
            await _annotate(cluster, await select(cluster, name), {Annotation.PAUSE: value})

    _run(work())


def _with_broker(
    name: str,
    namespace: str,
    context: str,
    kubeconfig: str,
    work: Callable[[Any], Awaitable[T]],
) -> T:
    """Run something that asks an AshChat's broker."""

    async def whole() -> T:
        from ashchat_cli.cluster import Cluster, Where
        from ashchat_cli.reach import broker_of, select

        async with (
            await Cluster.connect(Where(kubeconfig, context, namespace)) as cluster,
            broker_of(cluster, await select(cluster, name)) as broker,
        ):
            return await work(broker)

    return _run(whole())


@dlq.command("list")
def dlq_list(
    *,
    name: Name = "",
    every: Annotated[bool, typer.Option("--all", help="Queues without dead letters too.")] = False,
    namespace: Namespace = "",
    output: Output = Format.TEXT,
    context: Context = "",
    kubeconfig: Kubeconfig = "",
) -> None:
    """List the queues that have dead letters, and how many.

    Example: kubectl ashchat dlq list demo
    """

    async def work(broker: Any) -> Any:
        return await broker.depths(spec.dead for spec in QUEUES)

    depths = _with_broker(name, namespace, context, kubeconfig, work)
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
        table.add_row(
            each["queue"], each["reader"], str(each["messages"]) if each["there"] else "not there"
        )
    _console().print(table)


@dlq.command("show")
def dlq_show(
    *,
    queue: QueueName,
    name: Name = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, the oldest first.")] = 10,
    body: Annotated[
        bool, typer.Option("--body", help="The bodies too: people's texts, addresses, codes.")
    ] = False,
    namespace: Namespace = "",
    output: Output = Format.TEXT,
    context: Context = "",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Show dead letters of a queue: why and when each died, and what it is about.

    They stay where they are, in their order. Texts, names, addresses, codes and hashes are
    hidden unless --body is given.

    Examples:
      kubectl ashchat dlq show TRANSLATE_QUEUE demo

      kubectl ashchat dlq show translate --limit 1 --body -o json
    """

    async def work(broker: Any) -> Any:
        return await broker.look(_spec(queue), limit)

    found = [
        letter.data(whole=body)
        for letter in _with_broker(name, namespace, context, kubeconfig, work)
    ]
    if output is not Format.TEXT:
        data = {"queue": _spec(queue).name.value, "items": found}
        typer.echo(document("DeadLetterList", data, output))
        return
    console = _console()
    if not found:
        typer.echo("no dead letters")
    for each in found:
        head = Text.assemble((f"{each['position']}  {each['type']}  ", "bold"))
        head.append(f"{each['reason']}", "red")
        head.append(f"  {each['died']}  id {each['id'] or '(none)'}", "dim")
        console.print(head, soft_wrap=True)
        if each["why"]:
            console.print(Text(f"   {each['why']}"), soft_wrap=True)
        if each.get("problem"):
            console.print(Text(f"   {each['problem']}", "yellow"), soft_wrap=True)
        for key, value in each["fields"].items():
            console.print(Text(f"   {key}: {value}"), soft_wrap=True)
        if body:
            console.print(Text(f"   body: {each['body']}"), soft_wrap=True)


@dlq.command("replay")
def dlq_replay(
    *,
    queue: QueueName,
    name: Name = "",
    ids: Annotated[
        list[str] | None, typer.Option("--id", help="A message's id; may be given several times.")
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="So many, the oldest first.")] = 0,
    every: Annotated[bool, typer.Option("--all", help="All that are there now.")] = False,
    namespace: Namespace = "",
    output: Output = Format.TEXT,
    context: Context = "",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Send dead letters to their own queue again, as their writer did.

    Each is confirmed by the broker before it leaves the dead letters. Broken off in between,
    a message may be in both queues, never in none; consumers handle a double once. One that
    dies again is not sent a second time by the same call. Exit code 0 when all that were
    meant were sent.

    Examples:
      kubectl ashchat dlq replay TRANSLATE_QUEUE demo --all

      kubectl ashchat dlq replay translate --id 0198c1c8-7d2a-7e11-b7a5-0a7c
    """
    if not (ids or limit or every):
        Console(stderr=True, highlight=False).print("error: say which: --id, --limit or --all")
        raise typer.Exit(Exit.USAGE)
    chosen = set(ids or ())

    async def work(broker: Any) -> list[Any]:
        most = limit or len(chosen) or sys.maxsize
        replay = broker.replay(
            _spec(queue),
            lambda letter: not chosen or letter.message_id in chosen,
            most,
        )
        return [each async for each in replay]

    sent = _with_broker(name, namespace, context, kubeconfig, work)
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
                typer.echo(f"stays: {each['id']}: {each['problem']}")
        for each_id in missing:
            typer.echo(f"not found: {each_id}")
    if missing and not items:
        raise typer.Exit(Exit.NOT_FOUND)
    raise typer.Exit(Exit.OK if len(done) == len(items) and not missing else Exit.NOT_OK)
