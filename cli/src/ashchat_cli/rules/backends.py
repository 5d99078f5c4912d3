"""Rules about backends, queues and Secrets."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from ashchat_cli.objects import Object
from ashchat_cli.rules.facts import Facts, Finding, Severity
from ashchat_core.api.conditions import ConditionType
from ashchat_core.api.names import Label
from ashchat_core.api.reasons import Reason
from ashchat_core.topology import QUEUES
from ashchat_core.wording import counted

IN_RABBITMQ: Final = "kubectl -n {ns} exec {name}-rabbitmq-0 -c rabbitmq -- {command}"

_COMMAND: Final = re.compile(r"rabbitmqctl (?:.*? --if-empty|eval '[^']*')")

TOPOLOGY: Final[Mapping[str, tuple[str, str]]] = {
    Reason.LOGIN_REFUSED: (
        "a backend refuses the operator's login",
        # A managed backend adopts the password in its Secret at its next start.
        "kubectl -n {ns} delete pod -l app.kubernetes.io/instance={name},{component}",
    ),
    Reason.UNREACHABLE: (
        "a backend does not answer the operator",
        "kubectl -n {ns} get pods,endpointslices -l app.kubernetes.io/instance={name}",
    ),
    Reason.QUEUE_INEQUIVALENT: ("a queue has the wrong properties", IN_RABBITMQ),
    Reason.EXCHANGE_INEQUIVALENT: ("an exchange has the wrong properties", IN_RABBITMQ),
    Reason.VERSION_TOO_OLD: (
        "a backend is too old",
        "upgrade it, or choose another image in the spec",
    ),
}
"""Reason of TopologyReady → a short description, and what to do."""


def backends(facts: Facts) -> Iterator[Finding]:
    """Report backends that refuse, do not answer, or have wrong contents."""
    condition = facts.conditions().get(ConditionType.TOPOLOGY_READY, {})
    if condition.get("status") != "False":
        return
    reason = condition.get("reason", "")
    what, do = TOPOLOGY.get(
        reason,
        (f"users, queues or permissions are not as declared ({reason})", "kubectl ashchat status"),
    )
    message = condition.get("message", "")
    command = _COMMAND.search(message)
    do = do.format(
        ns=facts.namespace,
        name=facts.name,
        # The message begins with the backend's name.
        component=f"{Label.COMPONENT}={message.partition(':')[0]}",
        command=command[0] if command else "rabbitmqctl help",
    )
    yield Finding("backends", Severity.ERROR, what, message, do)


def wanted_secrets(spec: Mapping[str, Any]) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return the Secrets that a spec names: name → purpose, and the required keys."""
    smtp = spec.get("email", {}).get("smtp", {})
    google = spec.get("translate", {}).get("google", {})
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    wanted: tuple[tuple[Object, str, str, tuple[str, ...]], ...] = (
        (smtp, "credentialsSecretRef", "the mail server's login", ("username", "password")),
        (smtp, "caSecretRef", "the mail server's authority", ("ca.crt",)),
        (google, "credentialsSecretRef", "Google's key", ()),
        (google, "caSecretRef", "Google's authority", ("ca.crt",)),
    )
    for block, key, what, keys in wanted:
        name = block.get(key, {}).get("name")
        if name:
            found[name] = (what, keys)
    return found


def secrets(facts: Facts) -> Iterator[Finding]:
    """Report Secrets that the spec names and that do not exist, or lack keys."""
    for name, (what, keys) in wanted_secrets(facts.spec).items():
        if name not in facts.secrets:
            continue  # it could not be read
        there = facts.secrets[name]
        lacking = [key for key in keys if key not in (there or ())]
        if there is not None and not lacking:
            continue
        missing = f"lacks {', '.join(lacking)}" if there is not None else "does not exist"
        literals = " ".join(f"--from-file={key}=FILE" for key in lacking or keys or ("key.json",))
        yield Finding(
            "secrets",
            Severity.ERROR,
            f"Secret {name} ({what}) {missing}",
            "the spec refers to it, and components wait for it",
            f"kubectl -n {facts.namespace} create secret generic {name} {literals}"
            " --dry-run=client -o yaml | kubectl apply -f -",
        )


def holding(facts: Facts) -> Iterator[Finding]:
    """Report other messages that wait for an unavailable dependency."""
    for component, queues in facts.held.items():
        held = {queue: count for queue, count in queues.items() if count}
        if component == "email" or not held:
            continue
        yield Finding(
            "held",
            Severity.WARNING,
            f"{component} is holding messages of {', '.join(sorted(held))}",
            "a dependency (a store, a translation engine) is unavailable; nothing is lost",
            f"kubectl -n {facts.namespace} logs deploy/{facts.name}-{component} --tail=50",
        )


def dead_letters(facts: Facts) -> Iterator[Finding]:
    """Report dead letters."""
    for spec in QUEUES:
        depth = (facts.depths or {}).get(spec.dead)
        if depth and depth.messages:
            yield Finding(
                "dead-letters",
                Severity.WARNING,
                f"{spec.name} has {counted(depth.messages, 'dead letter')}",
                f"{spec.reader} could not process them; each records why",
                f"kubectl ashchat dlq show {spec.name} {facts.name} -n {facts.namespace}",
            )


def consumers(facts: Facts) -> Iterator[Finding]:
    """Report queues that do not exist, or have no consumer."""
    if facts.depths is None:
        return
    for spec in QUEUES:
        depth = facts.depths.get(spec.name.value)
        replicas = facts.spec.get(spec.reader.value, {}).get("replicas", 1)
        if depth is None:
            yield Finding(
                "queues",
                Severity.ERROR,
                f"{spec.name} does not exist",
                "it was deleted; the operator creates it again within 30 s",
                f"kubectl ashchat status {facts.name} -n {facts.namespace}",
            )
        elif not depth.consumers and replicas:
            yield Finding(
                "queues",
                Severity.ERROR,
                f"{spec.name} has no consumer ({counted(depth.messages, 'message')} waiting)",
                f"{spec.reader} has no connection to RabbitMQ, or is not running",
                f"kubectl -n {facts.namespace} logs deploy/{facts.name}-{spec.reader} --tail=50",
            )
