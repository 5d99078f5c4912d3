"""Each of the doctor's rules, by the facts in which it finds its fault and those in which not."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ashchat_cli import rules
from ashchat_cli.objects import Depth
from ashchat_cli.rules import Facts, Finding, Severity, Web, examine
from ashchat_cli.status import names
from ashchat_core.topology import Queue

Object = dict[str, Any]
NOW = datetime(2026, 11, 25, 9, 0, tzinfo=UTC)
RECORDED = json.loads((Path(__file__).parent / "recorded" / "ready.json").read_text())


def healthy() -> Facts:
    """Return the facts of an AshChat in order, as recorded from a cluster."""
    recorded = copy.deepcopy(RECORDED)
    recorded["resource"]["spec"]["email"]["smtp"]["credentialsSecretRef"] = {"name": "smtp"}
    lease = {
        "metadata": {"namespace": "ashchat-system", "name": "ashchat-operator"},
        "spec": {"holderIdentity": "pod-1", "renewTime": "2026-11-25T08:59:58.000000Z"},
    }
    operator = {
        "metadata": {"namespace": "ashchat-system", "name": "ashchat-operator"},
        "spec": {"replicas": 1},
        "status": {"readyReplicas": 1},
    }
    return Facts(
        now=NOW,
        server=NOW,
        resource=recorded["resource"],
        crd={"kind": "CustomResourceDefinition"},
        operators=[operator],
        leases=[lease],
        nodes={"one": NOW - timedelta(seconds=5)},
        pods=recorded["pods"],
        claims=[{"metadata": {"name": "data-demo-redis-0"}, "status": {"phase": "Bound"}}],
        secrets={"smtp": ("password", "username")},
        depths={name: Depth(0, 0 if name.endswith(".dead") else 1) for name in names()},
        held={"email": {}, "chat": {"TRANSLATED_QUEUE": 0.0}},
        web=Web("https://chat.example.org", expires=NOW + timedelta(days=60)),
    )


def pod(facts: Facts, component: str) -> Object:
    return next(
        each
        for each in facts.pods
        if each["metadata"]["labels"]["app.kubernetes.io/component"] == component
    )


def condition(facts: Facts, kind: str, **fields: str) -> None:
    assert facts.resource is not None
    found = facts.resource["status"]["conditions"]
    found[:] = [each for each in found if each["type"] != kind] + [{"type": kind, **fields}]


def container(facts: Facts, component: str, **fields: Any) -> None:
    pod(facts, component)["status"]["containerStatuses"][0].update(fields)


def waiting(reason: str) -> Object:
    return {"waiting": {"reason": reason}}


def depths(facts: Facts, name: str, depth: Depth | None) -> Facts:
    return replace(facts, depths={**(facts.depths or {}), name: depth})


def policy(*egress: Object, selector: Object | None = None) -> Object:
    return {
        "metadata": {"name": "deny"},
        "spec": {
            "podSelector": selector or {},
            "policyTypes": ["Egress"],
            "egress": list(egress),
        },
    }


OURS = {"app.kubernetes.io/managed-by": "ashchat-operator"}
DNS = {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}


def test_nothing_is_found_where_all_is_in_order() -> None:
    assert examine(healthy()) == []


def test_without_facts_nothing_is_found() -> None:
    assert examine(Facts(now=NOW)) == []


Break = Callable[[Facts], Facts | None]


def operator_gone(facts: Facts) -> Facts:
    return replace(facts, operators=[])


def operator_down(facts: Facts) -> Facts:
    (found,) = facts.operators or ()
    return replace(facts, operators=[{**found, "status": {}}])


def lease_old(facts: Facts) -> None:
    (found,) = facts.leases or ()
    found["spec"]["renewTime"] = "2026-11-25T08:50:00.000000Z"


def lease_free(facts: Facts) -> None:
    (found,) = facts.leases or ()
    found["spec"]["holderIdentity"] = ""


def unseen(facts: Facts) -> None:
    assert facts.resource is not None
    facts.resource["metadata"]["generation"] += 1
    facts.resource["metadata"]["managedFields"] = [{"time": "2026-11-25T08:50:00Z"}]


def unscheduled(facts: Facts) -> None:
    pod(facts, "chat")["status"]["conditions"] = [
        {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "0/1 nodes are available: 1 Insufficient cpu.",
        }
    ]


def pending(facts: Facts) -> Facts:
    claim = {"metadata": {"name": "data-demo-redis-0"}, "spec": {}, "status": {"phase": "Pending"}}
    return replace(facts, claims=[claim])


def paused(facts: Facts) -> None:
    assert facts.resource is not None
    facts.resource["metadata"]["annotations"] = {"ashchat.dev/pause": "true"}


def stuck(facts: Facts) -> None:
    assert facts.resource is not None
    facts.resource["status"]["rotation"] = [
        {
            "name": "users",
            "phase": "Proving",
            "lastTransitionTime": "2026-11-25T08:00:00Z",
            "message": "chat-1",
        }
    ]


TRANSLATE = Queue.TRANSLATE.value
DELETE = "rabbitmqctl --vhost ashchat delete_queue TRANSLATE_QUEUE --if-empty"
INEQUIVALENT = f"rabbitmq: Queue TRANSLATE_QUEUE is a classic queue. Delete it: {DELETE}"

FAULTS: dict[str, tuple[Break, str, Severity, str, str]] = {
    "no CRD": (
        lambda x: replace(x, crd=False),
        "crd",
        Severity.ERROR,
        "does not exist",
        "helm upgrade",
    ),
    "old CRD": (
        lambda x: condition(x, "SchemaCurrent", status="False", message="revision 1"),
        *("crd", Severity.ERROR, "older than the operator", "kubectl apply"),
    ),
    "no operator": (operator_gone, "operator", Severity.ERROR, "no operator", "helm upgrade"),
    "operator down": (operator_down, "operator", Severity.ERROR, "is ready", "describe pods"),
    "lease old": (lease_old, "operator", Severity.ERROR, "no operator leads", "logs"),
    "lease free": (lease_free, "operator", Severity.ERROR, "no operator leads", "logs"),
    "unseen": (unseen, "operator", Severity.ERROR, "newest spec", "logs"),
    "image": (
        lambda x: container(x, "chat", state=waiting("ErrImagePull")),
        *("images", Severity.ERROR, "cannot be pulled", "describe pod demo-chat-"),
    ),
    "memory": (
        lambda x: container(x, "chat", lastState={"terminated": {"reason": "OOMKilled"}}),
        *("memory", Severity.WARNING, "killed for memory", "resources.limits.memory of chat"),
    ),
    "crash": (
        lambda x: container(x, "auth", state=waiting("CrashLoopBackOff"), restartCount=4),
        *("crashes", Severity.ERROR, "ends soon after each start", "--previous"),
    ),
    "restarts": (
        lambda x: container(x, "auth", restartCount=5),
        *("crashes", Severity.WARNING, "restarted 5 times", "--previous"),
    ),
    "no node": (unscheduled, "scheduling", Severity.ERROR, "cannot be scheduled", "describe pod"),
    "no volume": (pending, "storage", Severity.ERROR, "is not bound", "get storageclass"),
    "login refused": (
        lambda x: condition(
            x, "TopologyReady", status="False", reason="LoginRefused", message="redis: refused"
        ),
        *("backends", Severity.ERROR, "refuses the operator's login", "component=redis"),
    ),
    "inequivalent": (
        lambda x: condition(
            x, "TopologyReady", status="False", reason="QueueInequivalent", message=INEQUIVALENT
        ),
        *("backends", Severity.ERROR, "has the wrong properties"),
        f"kubectl -n ashchat exec demo-rabbitmq-0 -c rabbitmq -- {DELETE}",
    ),
    "no Secret": (
        lambda x: replace(x, secrets={"smtp": None}),
        *("secrets", Severity.ERROR, "does not exist", "--from-file=username=FILE"),
    ),
    "lacking key": (
        lambda x: replace(x, secrets={"smtp": ("username",)}),
        *("secrets", Severity.ERROR, "lacks password", "--from-file=password=FILE"),
    ),
    "mail held": (
        lambda x: replace(x, held={"email": {"ACCOUNT_CREATION_QUEUE": 3.0}}),
        *("mail", Severity.ERROR, "3 mails waiting for the mail server", "logs deploy/demo-email"),
    ),
    "mail login": (
        lambda x: replace(x, held={"email": {"A": 1.0}}, mail={"login_refused": 2.0}),
        *("mail", Severity.ERROR, "1 mail waiting for", "check Secret smtp"),
    ),
    "held": (
        lambda x: replace(x, held={"translate": {TRANSLATE: 2.0}}),
        *("held", Severity.WARNING, f"translate is holding messages of {TRANSLATE}", "logs"),
    ),
    "dead letters": (
        lambda x: depths(x, f"{TRANSLATE}.dead", Depth(7, 0)),
        *("dead-letters", Severity.WARNING, "7 dead letters", "dlq show TRANSLATE_QUEUE demo"),
    ),
    "no consumer": (
        lambda x: depths(x, TRANSLATE, Depth(4, 0)),
        *("queues", Severity.ERROR, "has no consumer", "logs deploy/demo-translate"),
    ),
    "no queue": (
        lambda x: depths(x, TRANSLATE, None),
        *("queues", Severity.ERROR, "does not exist", "ashchat status"),
    ),
    "clock here": (
        lambda x: replace(x, now=NOW + timedelta(minutes=3)),
        *("clock", Severity.WARNING, "differs by 180 s", "timedatectl"),
    ),
    "clock of a node": (
        lambda x: replace(x, nodes={"one": NOW + timedelta(seconds=40)}),
        *("clock", Severity.ERROR, "node one is 40 s ahead", "timedatectl"),
    ),
    "DNS": (
        lambda x: replace(x, pods=[pod(x, "chat")], policies=[policy()]),
        *("network", Severity.ERROR, "may not query DNS", "describe networkpolicy deny"),
    ),
    "web": (
        lambda x: replace(x, web=Web("https://x.example", "refused")),
        *("web", Severity.ERROR, "does not respond", "component=edge"),
    ),
    "certificate": (
        lambda x: replace(x, web=Web("https://x.example", expires=NOW + timedelta(days=3))),
        *("certificate", Severity.WARNING, "expires in 3 days", "kubernetes.io/tls"),
    ),
    "certificate over": (
        lambda x: replace(x, web=Web("https://x.example", expires=NOW - timedelta(days=1))),
        *("certificate", Severity.ERROR, "has expired", "kubernetes.io/tls"),
    ),
    "paused": (paused, "paused", Severity.WARNING, "the AshChat is paused", "ashchat resume demo"),
    "stuck": (
        stuck,
        "rotation",
        Severity.WARNING,
        "users has been Proving since 2026-11-25T08:00:00Z",
        "ashchat status",
    ),
    "not Ready": (
        lambda x: condition(x, "Ready", status="False", reason="Refused", message="quota"),
        *("ready", Severity.ERROR, "is not Ready (Refused)", "ashchat status demo"),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_and_only_that(fault: str) -> None:
    broken, rule, severity, what, do = FAULTS[fault]
    facts = healthy()
    (found,) = examine(broken(facts) or facts)
    assert (found.rule, found.severity) == (rule, severity)
    assert what in found.what
    assert do in found.do
    assert found.why
    assert "{" not in found.do


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.__name__)
def test_every_rule_has_a_fault_that_it_finds(rule: rules.Rule) -> None:
    def finds(broken: Break) -> bool:
        facts = healthy()
        return bool(list(rule(broken(facts) or facts)))

    assert any(finds(broken) for broken, *_ in FAULTS.values())


def test_errors_come_first() -> None:
    facts = healthy()
    paused(facts)
    found = examine(replace(facts, web=Web("https://x.example", "refused")))
    assert [each.severity for each in found] == [Severity.ERROR, Severity.WARNING]
    assert found[0].data()["rule"] == "web"


@pytest.mark.parametrize(
    "egress",
    [
        DNS,
        {"to": [{"podSelector": {}}]},
        {"ports": [{"protocol": "UDP"}]},
        {"ports": [{"port": 1, "endPort": 65535, "protocol": "UDP"}]},
        {"ports": [{"port": "dns", "protocol": "UDP"}]},
    ],
)
def test_a_policy_that_lets_dns_through_is_no_fault(egress: Object) -> None:
    assert examine(replace(healthy(), policies=[policy(), policy(egress)])) == []


def test_where_the_operators_own_policies_select_a_pod_no_other_takes_anything_away() -> None:
    own = policy()
    own["metadata"] = {"name": "demo-redis", "labels": OURS}
    assert examine(replace(healthy(), policies=[own, policy()])) == []


def test_tcp_alone_is_not_enough() -> None:
    only = {"ports": [{"port": 53, "protocol": "TCP"}]}
    assert examine(replace(healthy(), policies=[policy(only)]))


@pytest.mark.parametrize(
    ("selector", "selected"),
    [
        ({}, True),
        ({"matchLabels": {"a": "1"}}, True),
        ({"matchLabels": {"a": "2"}}, False),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1"]}]}, True),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, False),
        ({"matchExpressions": [{"key": "b", "operator": "Exists"}]}, False),
        ({"matchExpressions": [{"key": "b", "operator": "DoesNotExist"}]}, True),
    ],
)
def test_which_pods_a_policy_selects(selector: Object, selected: bool) -> None:  # noqa: FBT001
    assert rules.selects(selector, {"a": "1"}) is selected


def test_a_queue_that_nobody_reads_is_fine_where_its_reader_is_scaled_to_none() -> None:
    facts = healthy()
    assert facts.resource is not None
    facts.resource["spec"]["static"]["replicas"] = 0
    assert examine(depths(facts, Queue.ACCOUNT_DELETION_STATIC.value, Depth(0, 0))) == []


def test_a_finding_is_data() -> None:
    finding = Finding("web", Severity.ERROR, "a", "b", "c")
    assert finding.data() == {
        "rule": "web",
        "severity": "error",
        "what": "a",
        "why": "b",
        "do": "c",
    }
