"""The doctor's rules: each looks at the facts for one sort of fault. Pure.

A finding says what is, why it may be so, and a command to begin with. A rule that lacks its
facts (a right was missing) finds nothing; what was not read is told by `Facts.skipped`.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from ashchat_cli.objects import Depth, Object
from ashchat_core.api.conditions import ConditionType
from ashchat_core.api.names import OPERATOR, Annotation, Label
from ashchat_core.api.reasons import Reason
from ashchat_core.topology import QUEUES

RESTARTS_MANY: Final = 5
SKEW: Final = timedelta(seconds=10)
"""Codes and tokens hold 30 s and more; beyond this some are refused that should not be."""

EXPIRES_SOON: Final = timedelta(days=14)
OVERDUE: Final = timedelta(minutes=2)
"""An operator that runs has seen a change, or goes on with a rotation, long before."""

STUCK: Final = timedelta(minutes=10)
DNS_PORT: Final = 53
_PULLING: Final = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName"})


class Severity(StrEnum):
    """How bad it is."""

    ERROR = "error"
    """Something does not work."""
    WARNING = "warning"
    """It works, but wants to be looked at."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault, for a person."""

    rule: str
    severity: Severity
    what: str
    why: str
    do: str
    """A command, or what else to do."""

    def data(self) -> Object:
        """Return it for a program."""
        return {
            "rule": self.rule,
            "severity": self.severity.value,
            "what": self.what,
            "why": self.why,
            "do": self.do,
        }


@dataclass(frozen=True, slots=True)
class Web:
    """How the public address answers."""

    url: str
    problem: str = ""
    """Why it does not; empty: it does."""
    expires: datetime | None = None
    """When its certificate ends; None: it has none."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What was read; None, or a missing key, for what was not."""

    now: datetime
    """This machine's clock."""
    server: datetime | None = None
    """The API server's clock, at the same moment."""
    resource: Object | None = None
    crd: Object | bool | None = None
    """False: it was looked for and is not there."""
    operators: Sequence[Object] | None = None
    leases: Sequence[Object] | None = None
    nodes: Mapping[str, datetime] = field(default_factory=dict)
    """When each node last renewed its Lease, by its own clock."""
    pods: Sequence[Object] = ()
    claims: Sequence[Object] = ()
    policies: Sequence[Object] = ()
    secrets: Mapping[str, tuple[str, ...] | None] = field(default_factory=dict)
    """Name → its keys; None: it is not there."""
    depths: Mapping[str, Depth | None] | None = None
    held: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Component → queue → messages that are held, because something they need is away."""
    mail: Mapping[str, float] = field(default_factory=dict)
    """What became of email's connections to the mail server, since it started."""
    web: Web | None = None
    skipped: Sequence[str] = ()

    @property
    def namespace(self) -> str:
        """Return the AshChat's."""
        return str((self.resource or {}).get("metadata", {}).get("namespace", ""))

    @property
    def name(self) -> str:
        """Return the AshChat's."""
        return str((self.resource or {}).get("metadata", {}).get("name", ""))

    @property
    def spec(self) -> Object:
        """Return what is wanted."""
        found: Object = (self.resource or {}).get("spec", {})
        return found

    def conditions(self) -> dict[str, Object]:
        """Return the AshChat's conditions, by type."""
        status = (self.resource or {}).get("status", {})
        return {each["type"]: each for each in status.get("conditions", [])}


def crd(facts: Facts) -> Iterator[Finding]:
    """Tell of a CustomResourceDefinition that is missing, or older than the operator."""
    if facts.crd is False:
        yield Finding(
            "crd",
            Severity.ERROR,
            "the CustomResourceDefinition ashchats.ashchat.dev is not there",
            "AshChat's chart was not installed in this cluster, or somebody deleted it",
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
    """Tell of an operator that does not run, or does not look at this AshChat."""
    for deployment in facts.operators or ():
        metadata, status = deployment["metadata"], deployment.get("status", {})
        if not status.get("readyReplicas", 0):
            yield Finding(
                "operator",
                Severity.ERROR,
                f"no pod of the operator {metadata['namespace']}/{metadata['name']} is ready",
                f"{deployment['spec'].get('replicas', 1)} wanted; nothing is repaired meanwhile",
                f"kubectl -n {metadata['namespace']} describe pods"
                " -l app.kubernetes.io/name=ashchat-operator",
            )
    if facts.operators is not None and not facts.operators:
        yield Finding(
            "operator",
            Severity.ERROR,
            "there is no operator in this cluster",
            "no Deployment bears its label; what is there runs on, but nothing is repaired",
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
            "the operator has not seen the newest spec",
            f"generation {metadata.get('generation')} is wanted,"
            f" {status.get('observedGeneration', 0)} was seen; it may watch other namespaces",
            "kubectl logs -A -l app.kubernetes.io/name=ashchat-operator --tail=50",
        )


def images(facts: Facts) -> Iterator[Finding]:
    """Tell of images that cannot be pulled."""
    for pod, state in _states(facts):
        if state.get("state", {}).get("waiting", {}).get("reason") in _PULLING:
            yield Finding(
                "images",
                Severity.ERROR,
                f"{pod}: image {state['image']} cannot be pulled",
                "it is not in the registry, its name is wrong, or the node may not read it",
                f"kubectl -n {facts.namespace} describe pod {pod}",
            )


def crashes(facts: Facts) -> Iterator[Finding]:
    """Tell of containers that were killed for memory or end again and again."""
    for pod, state in _states(facts):
        last = state.get("lastState", {}).get("terminated", {})
        restarts = state.get("restartCount", 0)
        waiting = state.get("state", {}).get("waiting", {}).get("reason")
        if last.get("reason") == "OOMKilled" or _ended(state) == "OOMKilled":
            component = _component_of(facts, pod)
            yield Finding(
                "memory",
                Severity.ERROR if waiting == "CrashLoopBackOff" else Severity.WARNING,
                f"{pod}: container {state['name']} was killed for memory ({restarts} restarts)",
                "it needed more than its limit",
                f"raise resources.limits.memory of {component}:"
                f" kubectl -n {facts.namespace} edit ashchat {facts.name}",
            )
        elif waiting == "CrashLoopBackOff":
            yield Finding(
                "crashes",
                Severity.ERROR,
                f"{pod}: container {state['name']} ends soon after each start",
                f"exit code {last.get('exitCode', 'unknown')}, {restarts} restarts",
                f"kubectl -n {facts.namespace} logs {pod} -c {state['name']} --previous",
            )
        elif restarts >= RESTARTS_MANY:
            yield Finding(
                "crashes",
                Severity.WARNING,
                f"{pod}: container {state['name']} was restarted {restarts} times",
                f"the last time with exit code {last.get('exitCode', 'unknown')}",
                f"kubectl -n {facts.namespace} logs {pod} -c {state['name']} --previous",
            )


def scheduling(facts: Facts) -> Iterator[Finding]:
    """Tell of pods without a node and volumes without storage."""
    for pod in facts.pods:
        for condition in pod.get("status", {}).get("conditions", []):
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                name = pod["metadata"]["name"]
                yield Finding(
                    "scheduling",
                    Severity.ERROR,
                    f"{name} has no node",
                    condition.get("message", condition.get("reason", "")),
                    f"kubectl -n {facts.namespace} describe pod {name}",
                )
    for claim in facts.claims:
        if claim.get("status", {}).get("phase") == "Pending":
            name = claim["metadata"]["name"]
            wanted = claim["spec"].get("storageClassName")
            whose = f"storage class {wanted}" if wanted else "no storage class, and no default one"
            yield Finding(
                "storage",
                Severity.ERROR,
                f"the volume claim {name} is not bound",
                f"it has {whose}; some classes wait for the pod",
                f"kubectl -n {facts.namespace} describe pvc {name}; kubectl get storageclass",
            )


IN_RABBITMQ: Final = "kubectl -n {ns} exec {name}-rabbitmq-0 -c rabbitmq -- {command}"
_COMMAND: Final = re.compile(r"rabbitmqctl (?:.*? --if-empty|eval '[^']*')")

TOPOLOGY: Final[Mapping[str, tuple[str, str]]] = {
    Reason.LOGIN_REFUSED: (
        "a backend refuses the operator's login",
        # A backend that the operator runs takes its Secret's password at its next start.
        "kubectl -n {ns} delete pod -l app.kubernetes.io/instance={name},{component}",
    ),
    Reason.UNREACHABLE: (
        "a backend does not answer the operator",
        "kubectl -n {ns} get pods,endpointslices -l app.kubernetes.io/instance={name}",
    ),
    Reason.QUEUE_INEQUIVALENT: ("a queue is not what it has to be", IN_RABBITMQ),
    Reason.EXCHANGE_INEQUIVALENT: ("an exchange is not what it has to be", IN_RABBITMQ),
    Reason.VERSION_TOO_OLD: (
        "a backend is too old",
        "upgrade it, or choose another image in the spec",
    ),
}
"""Reason of TopologyReady → what it is in short, and what to do."""


def backends(facts: Facts) -> Iterator[Finding]:
    """Tell of backends that refuse, do not answer, or hold what is wrong."""
    condition = facts.conditions().get(ConditionType.TOPOLOGY_READY, {})
    if condition.get("status") != "False":
        return
    reason = condition.get("reason", "")
    what, do = TOPOLOGY.get(
        reason, (f"users, queues or rights are not in order ({reason})", "kubectl ashchat status")
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
    """Return the Secrets that a spec names: name → what for, and the keys it has to have."""
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
    """Tell of Secrets that the spec names and that are not there, or lack keys."""
    for name, (what, keys) in wanted_secrets(facts.spec).items():
        if name not in facts.secrets:
            continue  # it could not be read
        there = facts.secrets[name]
        lacking = [key for key in keys if key not in (there or ())]
        if there is not None and not lacking:
            continue
        missing = f"lacks {', '.join(lacking)}" if there is not None else "is not there"
        literals = " ".join(f"--from-file={key}=FILE" for key in lacking or keys or ("key.json",))
        yield Finding(
            "secrets",
            Severity.ERROR,
            f"Secret {name} ({what}) {missing}",
            "the spec names it; what needs it waits",
            f"kubectl -n {facts.namespace} create secret generic {name} {literals}"
            " --dry-run=client -o yaml | kubectl apply -f -",
        )


def mail(facts: Facts) -> Iterator[Finding]:
    """Tell of mails that wait because the mail server does not take them."""
    held = sum(facts.held.get("email", {}).values())
    smtp = facts.spec.get("email", {}).get("smtp", {})
    where = f"{smtp.get('host')}:{smtp.get('port', '')}".rstrip(":")
    if held:
        refused = facts.mail.get("login_refused", 0) > 0
        why = "it refused the login" if refused else "it does not answer, or not as it should"
        secret = smtp.get("credentialsSecretRef", {}).get("name", "")
        check = f"look at Secret {secret}; " if refused and secret else ""
        yield Finding(
            "mail",
            Severity.ERROR,
            f"{held:.0f} mails wait for the mail server {where}",
            f"{why}; nothing is lost, they go out when it takes them",
            f"{check}kubectl -n {facts.namespace} logs deploy/{facts.name}-email --tail=50",
        )


def holding(facts: Facts) -> Iterator[Finding]:
    """Tell of other messages that wait because something they need is away."""
    for component, queues in facts.held.items():
        held = {queue: count for queue, count in queues.items() if count}
        if component == "email" or not held:
            continue
        yield Finding(
            "held",
            Severity.WARNING,
            f"{component} holds messages of {', '.join(sorted(held))}",
            "something they need (a store, a translation engine) is away; nothing is lost",
            f"kubectl -n {facts.namespace} logs deploy/{facts.name}-{component} --tail=50",
        )


def dead_letters(facts: Facts) -> Iterator[Finding]:
    """Tell of messages that were given up."""
    for spec in QUEUES:
        depth = (facts.depths or {}).get(spec.dead)
        if depth and depth.messages:
            yield Finding(
                "dead-letters",
                Severity.WARNING,
                f"{spec.name} has {depth.messages} dead letters",
                f"{spec.reader} gave them up; each says why",
                f"kubectl ashchat dlq show {spec.name} {facts.name} -n {facts.namespace}",
            )


def consumers(facts: Facts) -> Iterator[Finding]:
    """Tell of queues that are not there, or that nobody reads."""
    if facts.depths is None:
        return
    for spec in QUEUES:
        depth = facts.depths.get(spec.name.value)
        replicas = facts.spec.get(spec.reader.value, {}).get("replicas", 1)
        if depth is None:
            yield Finding(
                "queues",
                Severity.ERROR,
                f"{spec.name} is not there",
                "somebody deleted it; the operator makes it anew within 30 s",
                f"kubectl ashchat status {facts.name} -n {facts.namespace}",
            )
        elif not depth.consumers and replicas:
            yield Finding(
                "queues",
                Severity.ERROR,
                f"nobody reads {spec.name} ({depth.messages} messages wait)",
                f"{spec.reader} has no connection to RabbitMQ, or is not running",
                f"kubectl -n {facts.namespace} logs deploy/{facts.name}-{spec.reader} --tail=50",
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
                "codes of authenticators and tokens are refused there",
                f"timedatectl status, on {node}",
            )


def network(facts: Facts) -> Iterator[Finding]:
    """Tell of network policies that keep our pods from resolving names.

    Policies only add to what is let through. So where the operator's own select a pod, no
    other takes anything from it, and one that needs no names has no way to DNS.
    """
    for pod in facts.pods:
        own = pod["metadata"].get("labels", {})
        selecting = [
            policy
            for policy in facts.policies
            if "Egress" in policy["spec"].get("policyTypes", ())
            and selects(policy["spec"].get("podSelector", {}), own)
        ]
        if any(_of_operator(policy) for policy in selecting):
            continue
        rules = [rule for policy in selecting for rule in policy["spec"].get("egress") or ()]
        if selecting and not any(_lets_dns(rule) for rule in rules):
            names = ", ".join(policy["metadata"]["name"] for policy in selecting)
            yield Finding(
                "network",
                Severity.ERROR,
                f"{pod['metadata']['name']} may not ask DNS (NetworkPolicy {names})",
                "no policy that selects it has an egress rule with UDP port 53",
                f"kubectl -n {facts.namespace} describe networkpolicy {names.replace(',', '')}",
            )


def _of_operator(body: Mapping[str, Any]) -> bool:
    labels = body["metadata"].get("labels", {})
    return bool(labels.get(Label.MANAGED_BY) == OPERATOR)


def selects(selector: Mapping[str, Any], own: Mapping[str, str]) -> bool:
    """Tell whether a label selector selects these labels."""
    if any(own.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    for each in selector.get("matchExpressions", ()):
        key, values = each["key"], each.get("values", ())
        match each["operator"]:
            case "In":
                fits = own.get(key) in values
            case "NotIn":
                fits = own.get(key) not in values
            case "Exists":
                fits = key in own
            case _:
                fits = key not in own
        if not fits:
            return False
    return True


def _lets_dns(rule: Mapping[str, Any]) -> bool:
    """Tell whether an egress rule has UDP 53; whereto is not looked at."""
    ports = rule.get("ports")
    if not ports:
        return True
    for each in ports:
        first = each.get("port")
        if each.get("protocol", "TCP") != "UDP":
            continue
        if first is None or first == "dns":
            return True
        if isinstance(first, int) and first <= DNS_PORT <= each.get("endPort", first):
            return True
    return False


def web(facts: Facts) -> Iterator[Finding]:
    """Tell of a public address that does not answer, or whose certificate ends."""
    found = facts.web
    if found is None:
        return
    if found.problem:
        yield Finding(
            "web",
            Severity.ERROR,
            f"{found.url} does not answer from here",
            found.problem,
            f"kubectl -n {facts.namespace} get pods,services"
            f" -l app.kubernetes.io/instance={facts.name},app.kubernetes.io/component=edge",
        )
    if found.expires is not None and found.expires - facts.now < EXPIRES_SOON:
        days = (found.expires - facts.now).days
        over = f"ends in {days} days" if days >= 0 else "has ended"
        yield Finding(
            "certificate",
            Severity.WARNING if days >= 0 else Severity.ERROR,
            f"the certificate of {found.url} {over} ({found.expires:%Y-%m-%d})",
            "whoever renews it (cert-manager, you) did not yet",
            f"kubectl -n {facts.namespace} get secrets --field-selector type=kubernetes.io/tls",
        )


def commands(facts: Facts) -> Iterator[Finding]:
    """Tell of what was left on: a pause, a rotation that does not go on."""
    annotations = (facts.resource or {}).get("metadata", {}).get("annotations", {})
    if annotations.get(Annotation.PAUSE, "").lower() == "true":
        yield Finding(
            "paused",
            Severity.WARNING,
            "the operator is told to change nothing here",
            f"annotation {Annotation.PAUSE} is true; nothing is repaired meanwhile",
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
                entry.get("message", "") or "it does not say what it waits for",
                f"kubectl ashchat status {facts.name} -n {facts.namespace}",
            )


def not_ready(facts: Facts) -> Iterator[Finding]:
    """Tell that it is not Ready, in the operator's words: for what no other rule knows."""
    ready = facts.conditions().get(ConditionType.READY)
    if facts.resource is None or (ready and ready["status"] == "True"):
        return
    said = ready or {"reason": Reason.NOT_OBSERVED.value, "message": "no operator has looked at it"}
    yield Finding(
        "ready",
        Severity.ERROR,
        f"AshChat {facts.namespace}/{facts.name} is not Ready ({said.get('reason')})",
        said.get("message", ""),
        f"kubectl ashchat status {facts.name} -n {facts.namespace}",
    )


Rule = Callable[[Facts], Iterable[Finding]]

RULES: Final[Sequence[Rule]] = (
    *(crd, operator, secrets, images, scheduling, crashes, backends),
    *(network, mail, web, consumers, clocks, commands, holding, dead_letters, not_ready),
)
"""In the order in which one looks: what comes first may explain what follows."""


def examine(facts: Facts) -> list[Finding]:
    """Return all that is found, errors first."""
    found = [finding for rule in RULES for finding in rule(facts)]
    return sorted(found, key=lambda finding: finding.severity is not Severity.ERROR)


def moment(text: object) -> datetime | None:
    """Return a time of the API (RFC 3339); None where it is none."""
    try:
        return datetime.fromisoformat(str(text)) if text else None
    except ValueError:
        return None


def _states(facts: Facts) -> Iterator[tuple[str, Object]]:
    for pod in facts.pods:
        status = pod.get("status", {})
        for state in (
            *status.get("initContainerStatuses", ()),
            *status.get("containerStatuses", ()),
        ):
            yield pod["metadata"]["name"], state


def _ended(state: Mapping[str, Any]) -> str:
    return str(state.get("state", {}).get("terminated", {}).get("reason", ""))


def _component_of(facts: Facts, pod: str) -> str:
    for each in facts.pods:
        if each["metadata"]["name"] == pod:
            return str(each["metadata"].get("labels", {}).get(Label.COMPONENT, pod))
    return pod


def _seconds(difference: timedelta) -> str:
    return f"{abs(difference.total_seconds()):.0f} s"
