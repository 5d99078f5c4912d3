"""Commands that only read: status and doctor."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from ashchat_cli.commands.common import (
    Context,
    Kubeconfig,
    Name,
    Namespace,
    Output,
    Target,
    console,
    run,
)
from ashchat_cli.faults import CliError, Exit
from ashchat_cli.objects import Depth, Object
from ashchat_cli.output import Format, document

if TYPE_CHECKING:
    from ashchat_cli.cluster import Cluster
    from ashchat_cli.rules import Facts, Finding


def status(
    *,
    name: Name = "",
    namespace: Namespace = "",
    all_namespaces: Annotated[
        bool, typer.Option("-A", "--all-namespaces", help="Every AshChat in the cluster.")
    ] = False,
    queues: Annotated[
        bool,
        typer.Option(help="Also read the queues (needs more rights, see docs/reference/cli.md)."),
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
        from ashchat_cli.objects import labels
        from ashchat_cli.reach import select
        from ashchat_cli.status import overview

        async with Target(name, namespace, context, kubeconfig).connected() as cluster:
            if name or not all_namespaces:
                found = [await select(cluster, name)]
            else:
                found = await cluster.list("ashchats", None)
            shown = []
            for each in found:
                metadata = each["metadata"]
                own = labels(metadata["name"])
                pods = await cluster.list("pods", metadata["namespace"], own)
                depths, unread = await _depths(cluster, each) if queues else (None, "")
                shown.append(overview(each, pods, depths, unread))
            return shown

    shown = run(work())
    if output is Format.TEXT:
        from ashchat_cli.status import render

        console().print(render(shown) if shown else Text("no AshChat found"))
    else:
        typer.echo(document("StatusList", {"items": shown}, output))
    raise typer.Exit(Exit.OK if all(each["ready"] for each in shown) else Exit.NOT_OK)


async def _depths(
    cluster: "Cluster", resource: Object
) -> tuple[Mapping[str, Depth | None] | None, str]:
    """Return the depths of the queues, or why they cannot be read."""
    from ashchat_cli.reach import broker_of
    from ashchat_cli.status import names

    try:
        async with broker_of(cluster, resource) as broker:
            return await broker.depths(names()), ""
    except CliError as error:
        return None, str(error)


def doctor(
    *,
    name: Name = "",
    namespace: Namespace = "",
    output: Output = Format.TEXT,
    context: Context = "",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Look for common faults; report what is wrong, why, and what to do.

    Checks the CustomResourceDefinition and the operator, Secrets, images, scheduling, volumes,
    crashes, memory, backends, network policies, mail, the public address and its certificate,
    queues, dead letters, clocks, pauses and stuck rotations. Checks you lack permission for are
    skipped and listed at the end. Exit code 0: nothing found; 1: warnings only; 6: errors.

    Examples:
      kubectl ashchat doctor

      kubectl ashchat doctor demo -n ashchat -o json | jq '.findings[].what'
    """

    async def work() -> "Facts":
        from ashchat_cli.facts import gather
        from ashchat_cli.reach import select

        async with Target(name, namespace, context, kubeconfig).connected() as cluster:
            try:
                resource = await select(cluster, name)
            except CliError as error:
                # Without its definition there can be no AshChat: that is a finding.
                facts = await gather(cluster, None)
                if error.code is Exit.NOT_FOUND and facts.crd is False:
                    return facts
                raise
            return await gather(cluster, resource)

    from ashchat_cli.rules import Severity, examine

    facts = run(work())
    findings = examine(facts)
    if output is Format.TEXT:
        _print_findings(console(), findings, facts.skipped)
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


def _print_findings(
    console: Console, findings: Sequence["Finding"], skipped: Sequence[str]
) -> None:
    from ashchat_cli.rules import Severity

    for finding in findings:
        bad = finding.severity is Severity.ERROR
        mark = Text.assemble(("✗ error    ", "red") if bad else ("! warning  ", "yellow"))
        console.print(mark.append(finding.what, "bold"))
        if finding.why:
            console.print(Text(f"  why  {finding.why}"))
        # On one line, however long, so that it can be copied.
        console.print(Text(f"  do   {finding.do}", "cyan"), soft_wrap=True)
    if not findings:
        console.print(Text("✓ nothing found", "green"))
    for each in skipped:
        console.print(Text(f"skipped: {each}", "dim"), soft_wrap=True)
