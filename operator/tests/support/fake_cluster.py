"""An API server in memory: stores objects and answers the calls of `kube.api.Api`.

Server-side apply is the simple case: the applied fields replace those of the previous apply, and
`managedFields` records them. Controllers are not simulated; `run_workloads` reports the workloads
as ready, like a cluster in which every pod starts.
"""

import copy
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from itertools import count
from typing import Any, cast

from ashchat_core.api.names import KIND
from ashchat_operator.kube.api import Api
from ashchat_operator.kube.errors import CONFLICT, NOT_FOUND, ApiServerError

Object = dict[str, Any]
Key = tuple[str, str, str]
"""Kind, namespace and name."""


class FakeCluster:
    """Objects by kind, namespace and name, and a record of all writes.

    It has as many methods as the API client it stands in for.
    """

    def __init__(self) -> None:
        self.objects: dict[Key, Object] = {}
        self.writes: list[str] = []
        self.events: list[Object] = []
        self.served = {"HTTPRoute": False}
        self.fail: dict[tuple[str, str], ApiServerError] = {}
        """(Verb, kind) → the error that such requests are answered with."""
        self._versions = count(100)

    @property
    def api(self) -> Api:
        """The cluster as the operator's code takes it."""
        return cast("Api", self)

    def add(self, body: Object) -> Object:
        """Store an object as a user would create it, and return it."""
        metadata = {"uid": f"uid-{next(self._versions)}", "generation": 1, **body["metadata"]}
        metadata.setdefault("creationTimestamp", datetime.now(UTC).isoformat())
        return self._store({**copy.deepcopy(body), "metadata": metadata})

    def named(self, kind: str, name: str) -> Object:
        """Return the one object of this kind and name."""
        (found,) = (
            body for (of, _, called), body in self.objects.items() if (of, called) == (kind, name)
        )
        return found

    def of_kind(self, kind: str) -> list[Object]:
        """Return all objects of a kind."""
        return [body for (of, _, _), body in self.objects.items() if of == kind]

    def run_workloads(self) -> None:
        """Report every Deployment and StatefulSet as rolled out and ready."""
        for body in (*self.of_kind("Deployment"), *self.of_kind("StatefulSet")):
            replicas = body["spec"].get("replicas", 1)
            body["status"] = {
                "observedGeneration": body["metadata"]["generation"],
                "replicas": replicas,
                "updatedReplicas": replicas,
                "readyReplicas": replicas,
                "currentRevision": "1",
                "updateRevision": "1",
            }

    async def serves(self, kind: str) -> bool:
        return self.served.get(kind, True)

    async def get(self, kind: str, namespace: str, name: str) -> Object | None:
        self._check("get", kind)
        return copy.deepcopy(self.objects.get((kind, namespace, name)))

    async def get_each(
        self, kind: str, namespace: str, names: Iterable[str]
    ) -> dict[str, Object | None]:
        return {name: await self.get(kind, namespace, name) for name in set(names)}

    async def list(
        self, kind: str, namespace: str | None = None, labels: Mapping[str, str] | None = None
    ) -> list[Object]:
        self._check("list", kind)
        return [
            copy.deepcopy(body)
            for (of, place, _), body in self.objects.items()
            if of == kind
            and namespace in {None, place}
            and (labels or {}).items() <= body["metadata"].get("labels", {}).items()
        ]

    async def apply(self, body: Object, manager: str, *, new: bool = False) -> Object:
        self._check("apply", body["kind"])
        live = self.objects.get(_key(body))
        if new and live is not None:
            raise ApiServerError(CONFLICT, "the object has been modified")
        self.writes.append(f"apply {body['kind']} {body['metadata']['name']}")
        merged = _merged(live or {}, body)
        fields = {key: value for key, value in body.items() if key not in {"kind", "apiVersion"}}
        own = {"manager": manager, "operation": "Apply", "fieldsV1": _paths(fields)}
        others = [
            entry
            for entry in (live or {}).get("metadata", {}).get("managedFields", [])
            if entry["manager"] != manager
        ]
        merged["metadata"]["managedFields"] = [*others, own]
        merged["metadata"].setdefault("uid", f"uid-{next(self._versions)}")
        changed = live is None or live.get("spec") != merged.get("spec")
        merged["metadata"]["generation"] = merged["metadata"].get("generation", 0) + changed
        return copy.deepcopy(self._store(merged))

    async def create(self, body: Object, manager: str) -> Object:  # noqa: ARG002
        self._check("create", body["kind"])
        if body["kind"] == "Event":
            self.events.append(body)
            return body
        self.writes.append(f"create {body['kind']} {body['metadata']['name']}")
        return self.add(body)

    async def replace(self, body: Object, manager: str, *, status: bool = False) -> Object:  # noqa: ARG002
        kind = body.get("kind", KIND)
        self._check("replace", kind)
        live = self.objects.get(_key({**body, "kind": kind}))
        if live is None:
            raise ApiServerError(NOT_FOUND, "not found")
        if live["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"]:
            raise ApiServerError(CONFLICT, "the object has been modified")
        what = "status of" if status else "replace"
        self.writes.append(f"{what} {kind} {body['metadata']['name']}")
        return copy.deepcopy(
            self._store({**live, "status": body["status"]} if status else copy.deepcopy(body))
        )

    async def patch_metadata(self, body: Object, metadata: Object, manager: str) -> Object:  # noqa: ARG002
        kind = body.get("kind", KIND)
        self._check("patch", kind)
        live = self.objects[_key({**body, "kind": kind})]
        self.writes.append(f"patch {kind} {body['metadata']['name']}")
        inner = {key: value for key, value in metadata.items() if key != "resourceVersion"}
        merged = _merged(live["metadata"], inner)
        return copy.deepcopy(self._store({**live, "metadata": merged}))

    async def delete(self, body: Object) -> None:
        self._check("delete", body["kind"])
        self.writes.append(f"delete {body['kind']} {body['metadata']['name']}")
        self.objects.pop(_key(body), None)

    def _store(self, body: Object) -> Object:
        body["metadata"]["resourceVersion"] = str(next(self._versions))
        self.objects[_key(body)] = body
        return body

    def _check(self, verb: str, kind: str) -> None:
        if error := self.fail.get((verb, kind)):
            raise error


def _key(body: Object) -> Key:
    return body["kind"], body["metadata"]["namespace"], body["metadata"]["name"]


def _merged(live: Object, changes: Object) -> Object:
    result = copy.deepcopy(live)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = _merged(result[key], value) if both else copy.deepcopy(value)
    return result


def _paths(value: Any) -> Object:
    """Return the paths of a value in the format FieldsV1; lists count as a whole."""
    if not isinstance(value, dict):
        return {}
    return {f"f:{key}": _paths(item) for key, item in value.items()}
