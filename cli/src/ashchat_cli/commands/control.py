"""Commands that set annotation commands: rotate, restart, pause and resume."""

import asyncio
import secrets
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final

import typer

from ashchat_cli.commands.common import (
    Context,
    Kubeconfig,
    Name,
    Namespace,
    Output,
    Target,
    run,
    usage_error,
)
from ashchat_cli.faults import CliError, Exit
from ashchat_cli.objects import Object
from ashchat_cli.output import Format, document
from ashchat_core.api.names import Annotation, restart_annotation
from ashchat_core.topology import Service

if TYPE_CHECKING:
    from ashchat_cli.cluster import Cluster

COMPONENTS: Final = (
    *(service.value for service in Service),
    *("edge", "apertium"),
    *("rabbitmq", "redis", "cache", "mongodb"),
)
POLL_SECONDS: Final = 1.0
ACCEPTED_SECONDS: Final = 60.0
"""An operator that can rotate has accepted the request by then."""


def _components() -> list[str]:
    return list(COMPONENTS)


def _token() -> str:
    """Return a token for an annotation: the time, and a part that makes it unique."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}-{secrets.token_hex(2)}"


def rotate(
    *,
    name: Name = "",
    kind: Annotated[
        str,
        typer.Option(show_default=False, help="Only this kind, as status names it; default: all."),
    ] = "",
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Follow the rotation to its end.")
    ] = False,
    timeout: Annotated[float, typer.Option(min=1, help="Maximum seconds to follow.")] = 900.0,
    namespace: Namespace = "",
    output: Output = Format.TEXT,
    context: Context = "",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Rotate the credentials now; with --watch, follow until the old ones are removed.

    Sets the annotation ashchat.dev/rotate (or ashchat.dev/rotate-KIND) to a new token. With
    --watch the exit code is 0 when done, and 1 when not done within --timeout; the rotation
    then continues.

    Examples:
      kubectl ashchat rotate demo --watch

      kubectl ashchat rotate demo --kind signing-keys
    """

    async def work() -> Object:
        from ashchat_cli.follow import annotation

        async with Target(name, namespace, context, kubeconfig).selected() as (cluster, resource):
            known = [each.get("name") for each in resource.get("status", {}).get("rotation", ())]
            if kind and known and kind not in known:
                raise usage_error(f"there is no kind {kind}; there are: {', '.join(sorted(known))}")
            token = _token()
            await _annotate(cluster, resource, {annotation(kind): token})
            if not watch:
                return {"token": token, "done": False}
            rotation = _Rotation(cluster, resource, token, kind)
            return await rotation.follow(timeout, quiet=output is not Format.TEXT)

    result = run(work())
    if output is not Format.TEXT:
        typer.echo(document("Rotation", result, output))
    elif not watch:
        typer.echo(f"rotation requested, token {result['token']}; follow it with status")
    else:
        ending = "done" if result["done"] else "not done yet; the rotation continues"
        typer.echo(f"{ending}, {result['seconds']} s")
    raise typer.Exit(Exit.OK if result["done"] or not watch else Exit.NOT_OK)


async def _annotate(
    cluster: "Cluster", resource: Object, wanted: Mapping[str, str | None]
) -> Object:
    metadata = resource["metadata"]
    return await cluster.annotate("ashchats", metadata["namespace"], metadata["name"], wanted)


class _Rotation:
    """A rotation that was requested, as it is followed."""

    def __init__(self, cluster: "Cluster", resource: Object, token: str, kind: str) -> None:
        from ashchat_cli.follow import Follower

        self._cluster = cluster
        self._metadata = resource["metadata"]
        self._token = token
        self._began = time.monotonic()
        self._follower = Follower(token, kind, self._began)

    async def follow(self, timeout_seconds: float, *, quiet: bool) -> Object:
        """Print the phases as they end; return the result when it is done or out of time."""
        where = self._metadata["namespace"], self._metadata["name"]
        while not self._follower.done and self._elapsed() < timeout_seconds:
            found = await self._cluster.find("ashchats", *where)
            if found is None:
                raise CliError(Exit.NOT_FOUND, f"AshChat {where[1]} was deleted meanwhile")
            for news in self._follower.update(found.get("status", {}), time.monotonic()):
                if not quiet:
                    typer.echo(f"{self._elapsed():6.1f} s  {news}")
            self._check_accepted()
            await asyncio.sleep(POLL_SECONDS)
        return self._follower.data(time.monotonic())

    def _elapsed(self) -> float:
        return time.monotonic() - self._began

    def _check_accepted(self) -> None:
        accepted = any(each.handled for each in self._follower.kinds.values())
        if not accepted and self._elapsed() > ACCEPTED_SECONDS:
            raise CliError(
                Exit.NOT_OK,
                f"the operator did not accept token {self._token} within {ACCEPTED_SECONDS:g} s: "
                "it may not be running, the AshChat may be paused, or the operator may be too "
                "old; run kubectl ashchat doctor",
            )


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
    """Restart the pods of one component, one after the other.

    Sets the annotation ashchat.dev/restart-COMPONENT to a new token. The operator restarts the
    component once, and records the token in the status.

    Example: kubectl ashchat restart chat demo
    """

    async def work() -> str:
        async with Target(name, namespace, context, kubeconfig).selected() as (cluster, resource):
            there = [each["name"] for each in resource.get("status", {}).get("components", ())]
            if component not in (there or COMPONENTS):
                known = ", ".join(sorted(there or COMPONENTS))
                raise usage_error(f"there is no component {component}; there are: {known}")
            token = _token()
            await _annotate(cluster, resource, {restart_annotation(component): token})
            return token

    typer.echo(f"restart of {component} requested, token {run(work())}")


def pause(
    name: Name = "", namespace: Namespace = "", context: Context = "", kubeconfig: Kubeconfig = ""
) -> None:
    """Stop the operator from changing anything of this AshChat, until `resume`.

    Sets the annotation ashchat.dev/pause to true. Pods keep running; nothing is reconciled.

    Example: kubectl ashchat pause demo
    """
    _set_pause(Target(name, namespace, context, kubeconfig), "true")
    typer.echo("paused: nothing is applied or corrected until kubectl ashchat resume")


def resume(
    name: Name = "", namespace: Namespace = "", context: Context = "", kubeconfig: Kubeconfig = ""
) -> None:
    """Resume the reconciliation of a paused AshChat.

    Example: kubectl ashchat resume demo
    """
    _set_pause(Target(name, namespace, context, kubeconfig), None)
    typer.echo("resumed")


def _set_pause(target: Target, value: str | None) -> None:
    async def work() -> None:
        async with target.selected() as (cluster, resource):
            await _annotate(cluster, resource, {Annotation.PAUSE: value})

    run(work())
