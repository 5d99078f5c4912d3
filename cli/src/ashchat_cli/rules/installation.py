"""Rules about the installation: definition, operator, clocks, and what was left on."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from ashchat_cli.rules.facts import Facts, Finding, Severity, moment
from ashchat_core.api.conditions import ConditionType
from ashchat_core.api.names import Annotation
from ashchat_core.api.reasons import Reason

SKEW: Final = timedelta(seconds=10)
"""Codes and tokens are valid for 30 s or more; a larger skew makes valid ones fail."""

OVERDUE: Final = timedelta(minutes=2)
"""A running operator has observed a change, or continued a rotation, long before."""

STUCK: Final = timedelta(minutes=10)


def crd(facts: Facts) -> Iterator[Finding]:
    """Report a CustomResourceDefinition that is missing, or older than the operator."""
    if facts.crd is False:
        yield Finding(
            "crd",
            Severity.ERROR,
            "the CustomResourceDefinition ashchats.ashchat.dev does not exist",
            "AshChat's chart is not installed in this cluster, or the definition was deleted",
            "helm upgrade --install ashchat-operator charts/ashchat-operator -n ashchat-system",
        )
    schema = facts.conditions().get(ConditionType.SCHEMA_CURRENT, {})
    if schema.get("status") == "False":
        yield Finding(
            "crd",
            Severity.ERROR,
            "the CustomResourceDefinition is older than the operator",
            schema.get("message", ""),
            "kubectl apply --server-side --force-conflicts -f crds/ashchat.dev_ashchats.yaml",
        )


def operator(facts: Facts) -> Iterator[Finding]:
    """Report an operator that does not run, or does not reconcile this AshChat."""
    for deployment in facts.operators or ():
        metadata, status = deployment["metadata"], deployment.get("status", {})
        if not status.get("readyReplicas", 0):
            yield Finding(
                "operator",
                Severity.ERROR,
                f"no pod of the operator {metadata['namespace']}/{metadata['name']} is ready",
                f"{deployment['spec'].get('replicas', 1)} desired; nothing is reconciled",
                f"kubectl -n {metadata['namespace']} describe pods"
                " -l app.kubernetes.io/name=ashchat-operator",
            )
    if facts.operators is not None and not facts.operators:
        yield Finding(
            "operator",
            Severity.ERROR,
            "there is no operator in this cluster",
            "no Deployment carries the operator's label; existing workloads keep running, but"
            " nothing is reconciled",
            "helm upgrade --install ashchat-operator charts/ashchat-operator -n ashchat-system",
        )
    yield from _leaderless(facts)
    yield from _unseen(facts)


def _leaderless(facts: Facts) -> Iterator[Finding]:
    here = facts.server or facts.now
    for lease in facts.leases or ():
        spec, metadata = lease.get("spec", {}), lease["metadata"]
        renewed = moment(spec.get("renewTime"))
        late = renewed is not None and here - renewed > OVERDUE
        if not spec.get("holderIdentity") or late:
            yield Finding(
                "operator",
                Severity.ERROR,
                f"no operator leads (Lease {metadata['namespace']}/{metadata['name']})",
                f"last renewed {spec.get('renewTime', 'never')}",
                f"kubectl -n {metadata['namespace']} logs"
                " -l app.kubernetes.io/name=ashchat-operator --tail=50",
            )


def _unseen(facts: Facts) -> Iterator[Finding]:
    if facts.resource is None:
        return
    metadata, status = facts.resource["metadata"], facts.resource.get("status", {})
    if status.get("observedGeneration", 0) >= metadata.get("generation", 0):
        return
    changed = max(
        (
            moment(each.get("time"))
            for each in metadata.get("managedFields", ())
            if each.get("time")
        ),
        default=None,
        key=lambda at: at or facts.now,
    )
    if changed is not None and (facts.server or facts.now) - changed > OVERDUE:
        yield Finding(
            "operator",
            Severity.ERROR,
            "the operator has not observed the newest spec",
            f"generation {metadata.get('generation')} is current,"
            f" {status.get('observedGeneration', 0)} was observed; it may watch other namespaces",
            "kubectl logs -A -l app.kubernetes.io/name=ashchat-operator --tail=50",
        )


def clocks(facts: Facts) -> Iterator[Finding]:
    """Tell of clocks that differ: time-based codes and tokens would be refused."""
    if facts.server is None:
        return
    if abs(facts.now - facts.server) > SKEW:
        yield Finding(
            "clock",
            Severity.WARNING,
            f"this machine's clock differs by {_seconds(facts.now - facts.server)} from the"
            " cluster's",
            "one of them has no time synchronisation",
            "timedatectl status",
        )
    for node, renewed in facts.nodes.items():
        # It may be late for other reasons; only a time in the future is a clock's.
        if renewed - facts.server > SKEW:
            yield Finding(
                "clock",
                Severity.ERROR,
                f"the clock of node {node} is {_seconds(renewed - facts.server)} ahead",
                "authenticator codes and tokens are rejected there",
                f"timedatectl status, on {node}",
            )


def commands(facts: Facts) -> Iterator[Finding]:
    """Report a pause, or a rotation that is stuck."""
    annotations = (facts.resource or {}).get("metadata", {}).get("annotations", {})
    if annotations.get(Annotation.PAUSE, "").lower() == "true":
        yield Finding(
            "paused",
            Severity.WARNING,
            "the AshChat is paused",
            f"annotation {Annotation.PAUSE} is true; nothing is reconciled",
            f"kubectl ashchat resume {facts.name} -n {facts.namespace}",
        )
    for entry in (facts.resource or {}).get("status", {}).get("rotation", ()):
        since = moment(entry.get("lastTransitionTime"))
        waiting = entry.get("phase", "Idle") != "Idle" and since is not None
        if waiting and since is not None and (facts.server or facts.now) - since > STUCK:
            yield Finding(
                "rotation",
                Severity.WARNING,
                f"the rotation of {entry['name']} has been {entry['phase']} since {since:%FT%TZ}",
                entry.get("message", "") or "the operator does not report what it waits for",
                f"kubectl ashchat status {facts.name} -n {facts.namespace}",
            )


def not_ready(facts: Facts) -> Iterator[Finding]:
    """Report that it is not Ready, in the operator's words, for faults without a rule."""
    ready = facts.conditions().get(ConditionType.READY)
    if facts.resource is None or (ready and ready["status"] == "True"):
        return
    said = ready or {
        "reason": Reason.NOT_OBSERVED.value,
        "message": "no operator has reconciled it",
    }
    yield Finding(
        "ready",
        Severity.ERROR,
        f"AshChat {facts.namespace}/{facts.name} is not Ready ({said.get('reason')})",
        said.get("message", ""),
        f"kubectl ashchat status {facts.name} -n {facts.namespace}",
    )


def _seconds(difference: timedelta) -> str:
    return f"{abs(difference.total_seconds()):.0f} s"
