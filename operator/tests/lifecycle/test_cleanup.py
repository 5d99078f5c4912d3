"""Deletion and apply with an API server that rejects requests or holds foreign objects."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from ashchat_core.api.names import FINALIZER
from ashchat_operator.kube.api import Api
from ashchat_operator.kube.apply import apply
from ashchat_operator.kube.errors import ApiServerError
from ashchat_operator.lifecycle.cleanup import Cleanup
from ashchat_operator.lifecycle.deletion import OUTSIDE_PATIENCE, PATIENCE
from ashchat_operator.render import platform
from operator_rendering import CONTEXT, fixed_credentials, resource

Object = dict[str, Any]

ASH = resource("minimal")
DELETED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ALL_TIME = PATIENCE + timedelta(seconds=1)


class Server:
    """The methods of `Api` on a dict of objects; requests listed in `refuse` are rejected."""

    def __init__(self, *bodies: Object) -> None:
        self.objects = {(body["kind"], body["metadata"]["name"]): body for body in bodies}
        self.refuse: dict[tuple[str, str], ApiServerError] = {}
        self.written: list[tuple[str, str]] = []
        self.events: list[Object] = []
        self.stays: set[str] = set()

    @property
    def api(self) -> Api:
        return cast("Api", self)

    def _check(self, kind: str, name: str) -> None:
        if error := self.refuse.get((kind, name)) or self.refuse.get((kind, "")):
            raise error

    async def get(self, kind: str, namespace: str, name: str) -> Object | None:  # noqa: ARG002
        return self.objects.get((kind, name))

    async def list(self, kind: str, namespace: str, labels: Mapping[str, str]) -> list[Object]:  # noqa: ARG002
        self._check(kind, "")
        return [
            body
            for (of, _), body in self.objects.items()
            if of == kind and labels.items() <= body["metadata"].get("labels", {}).items()
        ]

    async def apply(self, body: Object, manager: str, *, new: bool = False) -> Object:
        self._check(body["kind"], body["metadata"]["name"])
        if new and (body["kind"], body["metadata"]["name"]) in self.objects:
            raise ApiServerError(409, "the object has been modified")
        self.written.append((body["kind"], body["metadata"]["name"]))
        entry = {"manager": manager, "operation": "Apply"}
        return {**body, "metadata": {**body["metadata"], "managedFields": [entry]}}

    async def create(self, body: Object, manager: str) -> Object:  # noqa: ARG002
        self.events.append(body)
        return body

    async def replace(self, body: Object, manager: str, *, status: bool = False) -> Object:  # noqa: ARG002
        assert status
        self.objects[body["kind"], body["metadata"]["name"]]["status"] = body["status"]
        return body

    async def patch_metadata(self, body: Object, metadata: Object, manager: str) -> Object:  # noqa: ARG002
        body["metadata"].update(metadata)
        return body

    async def delete(self, body: Object) -> None:
        name = body["metadata"]["name"]
        self._check(body["kind"], name)
        if name in self.stays:
            self.objects[body["kind"], name]["metadata"]["deletionTimestamp"] = "then"
        else:
            del self.objects[body["kind"], name]


def deleted(policy: str = "Delete") -> Object:
    return {
        "apiVersion": "ashchat.dev/v1alpha1",
        "kind": "AshChat",
        "metadata": {
            "name": "demo",
            "namespace": "ns",
            "uid": "u1",
            "generation": 2,
            "resourceVersion": "7",
            "finalizers": [FINALIZER],
            "deletionTimestamp": DELETED.strftime("%Y-%m-%dT%H:%M:%SZ"),
        },
        "spec": {"deletionPolicy": policy},
    }


def child(kind: str, name: str, component: str, owner: str | None = None) -> Object:
    labels = {
        "app.kubernetes.io/instance": "demo",
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/managed-by": "ashchat-operator",
    }
    metadata: Object = {"name": name, "namespace": "ns", "uid": name, "labels": labels}
    if owner:
        metadata["ownerReferences"] = [{"uid": owner}]
    return {"kind": kind, "metadata": metadata}


def belongings() -> list[Object]:
    return [
        child("StatefulSet", "demo-mongodb", "mongodb", "u1"),
        child("PersistentVolumeClaim", "data-demo-mongodb-0", "mongodb"),
        child("Secret", "demo-auth-credentials", "auth"),
    ]


async def run_passes(server: Server, body: Object, *after: timedelta, **more: Any) -> list[bool]:
    cleanup = Cleanup(server.api, **more)
    return [await cleanup.done(body, DELETED + late) for late in after]


async def test_data_is_deleted_after_the_workloads_that_would_recreate_it() -> None:
    body = deleted()
    server = Server(body, *belongings())
    server.stays = {"demo-mongodb"}
    soon = timedelta(seconds=1)
    assert await run_passes(server, body, soon, soon) == [False, False]
    assert ("PersistentVolumeClaim", "data-demo-mongodb-0") in server.objects
    assert "StatefulSet demo-mongodb" in body["status"]["conditions"][0]["message"]
    del server.objects["StatefulSet", "demo-mongodb"]
    assert await run_passes(server, body, soon, soon) == [False, True]
    assert list(server.objects) == [("AshChat", "demo")]
    assert body["metadata"]["finalizers"] == []
    assert server.events == []


async def test_with_retain_the_finalizer_is_removed_and_the_data_stays() -> None:
    body = deleted("Retain")
    server = Server(body, *belongings())
    assert await run_passes(server, body, timedelta()) == [True]
    assert len(server.objects) == 4
    assert body["metadata"]["finalizers"] == []


async def test_objects_that_are_not_deleted_in_time_are_left_and_reported() -> None:
    body = deleted()
    server = Server(body, *belongings())
    server.stays = {"data-demo-mongodb-0"}
    soon = timedelta(seconds=1)
    assert await run_passes(server, body, soon, soon, soon, ALL_TIME) == [False, False, False, True]
    (event,) = server.events
    assert event["reason"] == "CleanupAbandoned"
    assert "PersistentVolumeClaim data-demo-mongodb-0" in event["message"]
    assert "Secret" not in event["message"]


@pytest.mark.parametrize("what", [("Secret", "demo-auth-credentials"), ("Secret", "")])
async def test_a_missing_permission_delays_deletion_no_longer_than_other_errors(
    what: tuple[str, str],
) -> None:
    body = deleted()
    server = Server(body, *belongings())
    server.refuse[what] = ApiServerError(403, "you may not")
    soon = timedelta(seconds=1)
    assert await run_passes(server, body, soon, soon, ALL_TIME) == [False, False, True]
    assert "you may not" in server.events[0]["message"]


async def test_external_objects_are_deleted_before_their_logins_and_delay_data_half_the_time() -> (
    None
):
    body = deleted()
    server = Server(body, *belongings())
    secret = ("Secret", "demo-auth-credentials")

    async def outside(of: Object) -> Sequence[str]:
        assert of is body
        assert secret in server.objects or late
        return ["user auth-a at RabbitMQ"]

    late = False
    soon = timedelta(seconds=1)
    assert await run_passes(server, body, soon, soon, outside=[outside]) == [False, False]
    assert secret in server.objects
    late = True
    assert await run_passes(server, body, OUTSIDE_PATIENCE, ALL_TIME, outside=[outside]) == [
        False,
        True,
    ]
    assert secret not in server.objects
    assert "user auth-a at RabbitMQ" in server.events[0]["message"]


def rendered() -> list[Object]:
    return platform.render(ASH, CONTEXT, fixed_credentials(ASH))


async def test_nothing_gets_a_password_that_no_secret_stores() -> None:
    server = Server()
    refused = ("Secret", f"{ASH.name}-mongodb-admin")
    server.refuse[refused] = ApiServerError(500, "later")
    applied = await apply(server.api, ASH, rendered(), {})
    assert applied.stopped
    assert {kind for kind, _ in server.written} == {"Secret"}
    assert applied.problems == (f"Secret {refused[1]}: later",)


async def test_in_a_terminating_namespace_one_attempt_is_made() -> None:
    server = Server()
    causes = frozenset({"NamespaceTerminating"})
    server.refuse["Secret", ""] = ApiServerError(403, "being terminated", causes)
    applied = await apply(server.api, ASH, rendered(), {})
    assert applied.reason == "NamespaceTerminating"
    assert len(applied.problems) == 1
    assert server.written == []


async def test_a_service_that_is_not_ours_blocks_only_itself() -> None:
    name = f"{ASH.name}-chat"
    server = Server({"kind": "Service", "metadata": {"name": name}, "spec": {}})
    applied = await apply(server.api, ASH, rendered(), {})
    assert (applied.reason, applied.stopped) == ("NameTaken", False)
    assert ("Service", name) not in server.written
    assert ("Deployment", name) in server.written
