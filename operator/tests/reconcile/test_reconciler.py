"""Whole reconcile passes against an API server in memory; the reconciler is the real one."""

import base64
import copy
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from ashchat_core.api.conditions import ConditionType
from ashchat_core.api.names import FINALIZER, KIND, Annotation
from ashchat_core.api.reasons import Reason
from ashchat_operator.backends import ensure
from ashchat_operator.backends.base import Backend, BackendResult
from ashchat_operator.backends.ensure import Backends
from ashchat_operator.credentials.candidates import Pair, Verdict
from ashchat_operator.credentials.provided.smtp import SmtpCredential
from ashchat_operator.kube.errors import FORBIDDEN, ApiServerError
from ashchat_operator.lifecycle.schema import Schema
from ashchat_operator.reconcile import declare, pod_credentials
from ashchat_operator.reconcile.reconciler import Pace, Reconciler
from ashchat_operator.resource.model import Spec
from fake_cluster import FakeCluster
from operator_rendering import CONTEXT, GOLDEN

NAMESPACE, NAME = "team", "small"
PACE = Pace(settled=20, progressing=1)


def nothing() -> None:
    """Wake no worker."""


class Asked:
    """Replaces the backends: every backend is ready, unless `result` is set."""

    def __init__(self) -> None:
        self.backends: list[Backends] = []
        self.result = BackendResult(ready=True, reason=Reason.DECLARED, message="")

    async def ensure(self, backends: Backends) -> dict[Backend, BackendResult]:
        self.backends.append(backends)
        return dict.fromkeys(backends.targets, self.result)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    result = Asked()
    monkeypatch.setattr(ensure, "ensure", result.ensure)
    monkeypatch.setattr(declare, "PATIENCE_SECONDS", 1)
    return result


@pytest.fixture(autouse=True)
def pods_follow(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every pod uses the current credentials."""
    wanted: list[Any] = []

    async def lacking(_api: object, _ash: object, expected: Any, _now: object) -> tuple[str, ...]:
        wanted.append(expected)
        return ()

    monkeypatch.setattr(pod_credentials, "lacking", lacking)
    return wanted


@pytest.fixture
def cluster(asked: Asked) -> FakeCluster:  # noqa: ARG001 (the backends are replaced)
    """A cluster with one AshChat that has not been reconciled yet."""
    result = FakeCluster()
    body = yaml.safe_load((GOLDEN / "minimal.in.yaml").read_text())
    result.add({**body, "metadata": {"namespace": NAMESPACE, "name": NAME}})
    return result


@pytest.fixture
def schema(cluster: FakeCluster) -> Schema:
    result = Schema(cluster.api)
    result.message = ""
    return result


@pytest.fixture
async def reconciler(cluster: FakeCluster, schema: Schema) -> Iterator[Reconciler]:  # type: ignore[misc]
    result = Reconciler(cluster.api, CONTEXT, schema, version="1", pace=PACE)
    yield result
    await result.close()


def ashchat(cluster: FakeCluster) -> dict[str, Any]:
    return cluster.named(KIND, NAME)


def condition(cluster: FakeCluster, kind: ConditionType) -> tuple[str, str]:
    """Return status and reason of a condition."""
    (found,) = (x for x in ashchat(cluster)["status"]["conditions"] if x["type"] == kind)
    return found["status"], found["reason"]


async def run(reconciler: Reconciler, cluster: FakeCluster, passes: int = 1) -> float:
    """Run passes; return the seconds until the next."""
    seconds = 0.0
    for _ in range(passes):
        cluster.writes.clear()
        seconds = await reconciler.reconcile(NAMESPACE, NAME, nothing)
    return seconds


async def settle(reconciler: Reconciler, cluster: FakeCluster) -> None:
    """Run passes until the AshChat is Ready and nothing is written."""
    await run(reconciler, cluster)
    cluster.run_workloads()
    await run(reconciler, cluster, 3)
    assert condition(cluster, ConditionType.READY) == ("True", "Ready")
    assert cluster.writes == []


async def test_a_new_resource_becomes_ready_and_then_nothing_is_written(
    reconciler: Reconciler, cluster: FakeCluster
) -> None:
    assert await run(reconciler, cluster) == PACE.progressing
    assert len(cluster.of_kind("Deployment")) > 5
    assert condition(cluster, ConditionType.READY) == ("False", "ComponentsNotReady")
    assert condition(cluster, ConditionType.PROGRESSING) == ("True", "Waiting")
    cluster.run_workloads()
    await run(reconciler, cluster, 3)
    assert condition(cluster, ConditionType.READY) == ("True", "Ready")
    assert cluster.writes == []
    assert ashchat(cluster)["status"]["operatorVersion"] == "1"
    assert {event["reason"] for event in cluster.events} == {"Ready", "TopologyReady"}


async def test_the_first_pass_asks_no_backend(
    reconciler: Reconciler, cluster: FakeCluster, asked: Asked
) -> None:
    """Slow backends must not delay the creation of a new resource's objects."""
    await run(reconciler, cluster)
    assert asked.backends == []
    cluster.run_workloads()
    await run(reconciler, cluster)
    assert {*Backend} == {x for backends in asked.backends for x in backends.targets}


async def test_another_operator_continues_with_the_same_credentials(
    reconciler: Reconciler, cluster: FakeCluster, schema: Schema
) -> None:
    await settle(reconciler, cluster)
    secrets = copy.deepcopy([body["data"] for body in cluster.of_kind("Secret")])
    other = Reconciler(cluster.api, CONTEXT, schema, version="1", pace=PACE)
    await run(other, cluster, 2)
    assert cluster.writes == []
    assert [body["data"] for body in cluster.of_kind("Secret")] == secrets
    await other.close()


async def test_a_change_by_hand_is_corrected(reconciler: Reconciler, cluster: FakeCluster) -> None:
    await settle(reconciler, cluster)
    chat = cluster.named("Deployment", f"{NAME}-chat")
    chat["spec"]["replicas"] = 5
    await run(reconciler, cluster)
    assert f"apply Deployment {NAME}-chat" in cluster.writes
    assert cluster.named("Deployment", f"{NAME}-chat")["spec"]["replicas"] == 1


async def test_a_deleted_object_is_created_again(
    reconciler: Reconciler, cluster: FakeCluster
) -> None:
    await settle(reconciler, cluster)
    await cluster.delete(cluster.named("Service", f"{NAME}-chat"))
    await run(reconciler, cluster)
    assert cluster.named("Service", f"{NAME}-chat")


async def test_an_object_that_is_not_ours_is_left_alone_and_reported(
    reconciler: Reconciler, cluster: FakeCluster
) -> None:
    foreign = {
        "kind": "ConfigMap",
        "apiVersion": "v1",
        "metadata": {"namespace": NAMESPACE, "name": f"{NAME}-edge"},
        "data": {"theirs": "1"},
    }
    cluster.add(foreign)
    await run(reconciler, cluster)
    assert condition(cluster, ConditionType.DEGRADED) == ("True", "NameTaken")
    assert cluster.named("ConfigMap", f"{NAME}-edge")["data"] == {"theirs": "1"}


async def test_secrets_that_cannot_be_stored_stop_everything_that_follows_from_them(
    reconciler: Reconciler, cluster: FakeCluster
) -> None:
    cluster.fail["apply", "Secret"] = ApiServerError(FORBIDDEN, "quota")
    await run(reconciler, cluster)
    assert cluster.of_kind("Deployment") == []
    assert condition(cluster, ConditionType.DEGRADED) == ("True", "Refused")
    cluster.fail.clear()
    await settle(reconciler, cluster)


async def test_a_terminating_namespace_is_reported_once_and_then_left_alone(
    reconciler: Reconciler, cluster: FakeCluster
) -> None:
    await settle(reconciler, cluster)
    refused = ApiServerError(FORBIDDEN, "is being terminated", frozenset({"NamespaceTerminating"}))
    cluster.fail["apply", "Secret"] = refused
    for secret in cluster.of_kind("Secret"):
        await cluster.delete({"kind": "Secret", "metadata": secret["metadata"]})
    assert await run(reconciler, cluster) > PACE.progressing
    assert condition(cluster, ConditionType.READY) == ("False", "NamespaceTerminating")
    cluster.fail["list", "Secret"] = ApiServerError(500, "nothing is read again")
    assert await run(reconciler, cluster) == PACE.settled
    assert cluster.writes == []


async def test_a_namespace_of_the_same_name_as_one_that_was_deleted_is_reconciled(
    reconciler: Reconciler, cluster: FakeCluster
) -> None:
    refused = ApiServerError(FORBIDDEN, "is being terminated", frozenset({"NamespaceTerminating"}))
    cluster.fail["apply", "Secret"] = refused
    await run(reconciler, cluster)
    cluster.fail.clear()
    # Both the deletion and the creation happened between two passes.
    ashchat(cluster)["metadata"]["uid"] = "another"
    await settle(reconciler, cluster)


async def test_a_paused_resource_is_only_reported(
    reconciler: Reconciler, cluster: FakeCluster
) -> None:
    await settle(reconciler, cluster)
    ashchat(cluster)["metadata"]["annotations"] = {Annotation.PAUSE: "true"}
    cluster.named("Deployment", f"{NAME}-chat")["spec"]["replicas"] = 5
    await run(reconciler, cluster)
    assert cluster.writes == [f"status of {KIND} {NAME}"]
    assert condition(cluster, ConditionType.PAUSED) == ("True", "PausedByAnnotation")
    ashchat(cluster)["metadata"]["annotations"] = {}
    await run(reconciler, cluster)
    assert cluster.named("Deployment", f"{NAME}-chat")["spec"]["replicas"] == 1
    assert [event["reason"] for event in cluster.events][-1] == "Resumed"


async def test_a_restart_is_carried_out_once_and_recorded(
    reconciler: Reconciler, cluster: FakeCluster
) -> None:
    await settle(reconciler, cluster)
    ashchat(cluster)["metadata"]["annotations"] = {f"{Annotation.RESTART}-chat": "now"}
    await run(reconciler, cluster)
    template = cluster.named("Deployment", f"{NAME}-chat")["spec"]["template"]
    assert template["metadata"]["annotations"][Annotation.RESTART] == "now"
    assert ashchat(cluster)["status"]["commands"] == {"restarts": {"chat": "now"}}
    cluster.run_workloads()
    await run(reconciler, cluster, 2)
    assert cluster.writes == []


async def test_a_backend_that_is_not_ready_is_reported_with_its_reason(
    reconciler: Reconciler, cluster: FakeCluster, asked: Asked
) -> None:
    asked.result = BackendResult(
        ready=False, reason=Reason.QUEUE_INEQUIVALENT, message="delete the queue"
    )
    await run(reconciler, cluster)
    cluster.run_workloads()
    await run(reconciler, cluster)
    assert condition(cluster, ConditionType.TOPOLOGY_READY) == ("False", "QueueInequivalent")
    assert condition(cluster, ConditionType.READY) == ("False", "ComponentsNotReady")


async def test_an_outdated_schema_stops_the_pass_before_anything_is_applied(
    reconciler: Reconciler, cluster: FakeCluster, schema: Schema
) -> None:
    schema.message = "the CustomResourceDefinition is older"
    assert await run(reconciler, cluster) == PACE.progressing
    assert cluster.writes == [f"status of {KIND} {NAME}"]
    assert condition(cluster, ConditionType.SCHEMA_CURRENT) == ("False", "SchemaOutdated")


async def test_a_resource_that_does_not_match_the_schema_is_reported(
    reconciler: Reconciler, cluster: FakeCluster
) -> None:
    del ashchat(cluster)["spec"]["email"]
    assert await run(reconciler, cluster) == PACE.settled
    assert condition(cluster, ConditionType.READY) == ("False", "InvalidSpec")


async def test_a_read_that_fails_ends_the_pass_without_a_write(
    reconciler: Reconciler, cluster: FakeCluster
) -> None:
    cluster.fail["list", "Service"] = ApiServerError(500, "later")
    with pytest.raises(ApiServerError):
        await run(reconciler, cluster)
    assert cluster.writes == []


async def test_deletion_policy_delete_removes_claims_and_secrets(
    reconciler: Reconciler, cluster: FakeCluster
) -> None:
    ashchat(cluster)["spec"]["deletionPolicy"] = "Delete"
    await settle(reconciler, cluster)
    assert ashchat(cluster)["metadata"]["finalizers"] == [FINALIZER]
    ashchat(cluster)["metadata"]["deletionTimestamp"] = ashchat(cluster)["metadata"][
        "creationTimestamp"
    ]
    await run(reconciler, cluster, 3)
    assert ashchat(cluster)["metadata"]["finalizers"] == []
    assert cluster.of_kind("PersistentVolumeClaim") == []
    kept = [x for x in cluster.of_kind("Secret") if not x["metadata"].get("ownerReferences")]
    assert kept == []


async def test_user_provided_credentials_are_tried_stored_and_reported(
    reconciler: Reconciler,
    cluster: FakeCluster,
    monkeypatch: pytest.MonkeyPatch,
    pods_follow: list[Any],
) -> None:
    tried: list[Pair] = []

    async def attempt(_self: object, _spec: Spec, pair: Pair) -> Verdict:
        tried.append(pair)
        return Verdict(Reason.ACCEPTED, "the login is accepted")

    monkeypatch.setattr(SmtpCredential, "attempt", attempt)
    ashchat(cluster)["spec"]["email"]["smtp"]["credentialsSecretRef"] = {"name": "mail"}
    await run(reconciler, cluster)
    assert condition(cluster, ConditionType.CREDENTIALS_ACCEPTED) == ("False", "SecretMissing")
    login = {key: base64.b64encode(b"word").decode() for key in ("username", "password", "more")}
    secret = cluster.add(
        {"kind": "Secret", "metadata": {"namespace": NAMESPACE, "name": "mail"}, "data": login}
    )
    await settle(reconciler, cluster)
    assert condition(cluster, ConditionType.CREDENTIALS_ACCEPTED) == ("True", "InUse")
    assert len(tried) == 1
    files = cluster.named("Secret", f"{NAME}-email-credentials")["data"]
    assert base64.b64decode(files["smtp.password"]) == b"word"
    revision = secret["metadata"]["resourceVersion"]
    assert {"email": {"smtp": revision}} in pods_follow
    assert "smtp.more" not in files


async def test_the_memory_of_a_deleted_resource_is_gone(
    reconciler: Reconciler, cluster: FakeCluster
) -> None:
    """A new resource must not start with the memory of a deleted one of the same name."""
    await settle(reconciler, cluster)
    assert len(reconciler.memories) == 1
    ashchat(cluster)["spec"]["email"]["smtp"]["caSecretRef"] = {"name": "ca"}
    await run(reconciler, cluster)
    assert [*reconciler.memories.referring(NAMESPACE, "ca")] == [NAME]
    assert [*reconciler.memories.referring("elsewhere", "ca")] == []
    del cluster.objects[KIND, NAMESPACE, NAME]
    assert await run(reconciler, cluster) == PACE.settled
    assert len(reconciler.memories) == 0
    assert [*reconciler.memories.referring(NAMESPACE, "ca")] == []


async def test_unsettled_passes_become_less_frequent(
    reconciler: Reconciler, cluster: FakeCluster
) -> None:
    await run(reconciler, cluster)
    memory = reconciler.memories.of((NAMESPACE, NAME), nothing)
    memory.unsettled_passes = 299
    assert await run(reconciler, cluster) == pytest.approx(5.0)
