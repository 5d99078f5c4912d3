"""AshChat's objects are re-created after a deletion, and restored after an edit."""

import asyncio
import copy
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ashchat_core.api.names import Label
from ashchat_dev.client import RequestRefusedError
from ashchat_dev.conversation import converse
from ashchat_dev.kube.api import ApiError, PatchKind
from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.phoenix import JoinRefusedError, SocketRefusedError
from ashchat_dev.waiting import until
from ashchat_e2e.people import PersonFactory
from ashchat_e2e.sampling import sample

WITHIN_S = 30.0
"""A generous limit: the target is 10 s; the summary lists each duration."""

DELETED = 14
EDITED = 30
"""How many deletions and edits a run samples; `make soak` tries them all."""

Measure = Callable[[str, float], None]
Object = dict[str, Any]

NOT_CHILDREN = {
    # Created by Kubernetes from our objects, with their labels.
    "pods",
    "endpoints",
    "endpointslices",
    "controllerrevisions",
    "replicasets",
    "events",
    # Data: the operator neither re-creates nor prunes it.
    "persistentvolumeclaims",
}


async def child_kinds(cluster: Cluster) -> list[tuple[str, str]]:
    """Return (group path, plural) of every namespaced kind that can be listed and patched."""
    places = ["api/v1"]
    places += [
        f"apis/{group['preferredVersion']['groupVersion']}"
        for group in (await cluster.get("/apis"))["groups"]
        # Aggregated APIs (metrics) store none of our objects, and may be unavailable.
        if group["name"] != "metrics.k8s.io"
    ]
    found: list[tuple[str, str]] = []
    for place in places:
        found += [
            (place, kind["name"])
            for kind in (await cluster.get(f"/{place}"))["resources"]
            if kind["namespaced"] and {"list", "patch", "delete"} <= set(kind["verbs"])
        ]
    return [(place, plural) for place, plural in found if plural not in NOT_CHILDREN]


class Child:
    """A child object: where it is, and its state when it was found."""

    def __init__(self, cluster: Cluster, place: str, plural: str, body: Object) -> None:
        self._cluster = cluster
        self.plural = plural
        self.name: str = body["metadata"]["name"]
        self.body = body
        self.path = f"/{place}/namespaces/{cluster.namespace}/{plural}/{self.name}"

    def __str__(self) -> str:
        return f"{self.plural}/{self.name}"

    async def read(self) -> Object | None:
        """Return its current state; None if it does not exist."""
        try:
            found: Object = await self._cluster.get(self.path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise
        return found

    async def delete(self) -> None:
        """Delete it as kubectl does, with background propagation."""
        await self._cluster.request("DELETE", self.path, json={"propagationPolicy": "Background"})

    async def patch(self, patch: Any, kind: PatchKind) -> Object:
        """Edit it, and return the result."""
        types: Mapping[str, str] = {
            "merge": "application/merge-patch+json",
            "json": "application/json-patch+json",
            "strategic": "application/strategic-merge-patch+json",
        }
        became: Object = await self._cluster.request(
            "PATCH", self.path, json=patch, content_type=types[kind]
        )
        return became

    async def recreated(self) -> bool:
        """Return whether a new object has its name."""
        now = await self.read()
        return now is not None and now["metadata"]["uid"] != self.body["metadata"]["uid"]

    async def as_it_was(self) -> bool:
        """Return whether its meaning is the same as when it was found."""
        now = await self.read()
        return now is not None and meaning(now) == meaning(self.body)


def meaning(body: Object) -> Object:
    """Return an object without the fields that the API server and controllers maintain."""
    # The items of a list have no kind; an object that is read alone has.
    left_out = {"status", "kind", "apiVersion"}
    own = copy.deepcopy({key: value for key, value in body.items() if key not in left_out})
    metadata = own["metadata"]
    for key in ("resourceVersion", "generation", "managedFields", "uid", "creationTimestamp"):
        metadata.pop(key, None)
    annotations = metadata.get("annotations", {})
    annotations.pop("deployment.kubernetes.io/revision", None)
    if not annotations:
        metadata.pop("annotations", None)
    return own


async def children(cluster: Cluster) -> list[Child]:
    """Return all of AshChat's children, found by label."""
    labels = {Label.MANAGED_BY.value: "ashchat-operator", **cluster.labels()}
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    found: list[Child] = []
    for place, plural in await child_kinds(cluster):
        listed = await cluster.get(
            f"/{place}/namespaces/{cluster.namespace}/{plural}", labelSelector=selector
        )
        found += [Child(cluster, place, plural, body) for body in listed["items"]]
    kinds = {child.plural for child in found}
    assert {"deployments", "statefulsets", "services", "configmaps", "secrets"} <= kinds, kinds
    return found


async def repaired(probe: Callable[[], Any], what: str, measure: Measure) -> None:
    """Wait until the probe succeeds, and record how long it took."""
    started = time.monotonic()
    await until(probe, within=WITHIN_S, every=0.1, what=what)
    measure(what, time.monotonic() - started)


async def test_every_deleted_child_is_recreated(
    cluster: Cluster, person: PersonFactory, measure: Measure
) -> None:
    ana = await person()
    others = [child for child in await children(cluster) if child.plural != "secrets"]
    for child in sample(others, DELETED, "deleted children"):
        await child.delete()
        await repaired(child.recreated, f"deleted {child} re-created", measure)
    await cluster.wait_ready(within=180)
    # No user data is lost.
    assert (await ana.signin()).status == 200
    await converse(ana, await person("Ben", "en"))


async def test_a_deleted_secret_is_recreated_and_nothing_is_lost(
    cluster: Cluster, person: PersonFactory, measure: Measure
) -> None:
    ana, ben = await asyncio.gather(person("Ana", "es"), person("Ben", "en"))
    chat_id = await converse(ana, ben)
    for child in await children(cluster):
        if child.plural == "secrets":
            await child.delete()
            await repaired(child.recreated, f"deleted {child} re-created", measure)
    await cluster.wait_ready(within=180)

    async def signed_in() -> bool:
        replies = await asyncio.gather(ana.signin(), ben.signin())
        return all(reply.status == 200 for reply in replies)

    # Mounted Secrets are updated within a minute or so; until then the previous one works.
    await until(signed_in, within=120, every=1, what="users signing in with the new Secrets")

    # The same is true of the new public key, with which each chat pod verifies the new tokens.
    async def talking() -> bool:
        await converse(ana, ben, chat_id)
        return True

    # Translation resumes when the credentials mounted in translate are updated.
    refusals = (RequestRefusedError, SocketRefusedError, JoinRefusedError, TimeoutError)
    await until(talking, within=120, every=1, what="both pods accept the user", ignoring=refusals)

    async def all_chats() -> list[Object] | None:
        reply = await ana.chat.get("/chats")
        return reply.body["chats"] if reply.status == 200 else None

    chats = await until(all_chats, within=120, every=1, what="all chats listed")
    assert [chat["id"] for chat in chats] == [chat_id]
    assert len(chats[0]["messages"]) >= 4, "messages were lost"
    await person("Carla", "es")


def edits(child: Child) -> Iterator[tuple[str, Any, PatchKind]]:
    """Yield possible edits to a child: (what, patch, its kind)."""
    match child.plural:
        case "deployments" | "statefulsets":
            container = child.body["spec"]["template"]["spec"]["containers"][0]
            name = container["name"]
            replicas = child.body["spec"].get("replicas", 1)
            yield "more replicas", {"spec": {"replicas": replicas + 1}}, "merge"
            yield (
                "an added container, env and port",
                in_template(
                    {
                        "name": "intruder",
                        "image": container["image"],
                        "command": ["true"],
                    },
                    {
                        "name": name,
                        "env": [{"name": "INTRUDER", "value": "1"}],
                        "ports": [{"name": "intruder", "containerPort": 6666}],
                    },
                ),
                "strategic",
            )
        case "services":
            port = {"name": "intruder", "port": 6666, "targetPort": 6666, "protocol": "TCP"}
            path = "/spec/ports/-"
            yield "an added port", [{"op": "add", "path": path, "value": port}], "json"
            yield "another selector", {"spec": {"selector": {"intruder": "yes"}}}, "merge"
        case "configmaps":
            key = next(iter(child.body.get("data") or child.body.get("binaryData") or {"x": ""}))
            yield "another value", {"data": {key: "changed"}}, "merge"
            yield "an added key", {"data": {"intruder": "yes"}}, "merge"
        case "serviceaccounts":
            yield "a mounted token", {"automountServiceAccountToken": True}, "merge"
        case "poddisruptionbudgets":
            yield "another limit", {"spec": {"maxUnavailable": 7, "minAvailable": None}}, "merge"
        case "networkpolicies":
            yield "an added opening", {"spec": {"ingress": [{}]}}, "merge"
        case _:
            pass
    label = Label.COMPONENT
    if label in child.body["metadata"]["labels"]:
        yield "a label taken off", {"metadata": {"labels": {label: None}}}, "merge"


def in_template(*containers: Object) -> Object:
    """Return a strategic patch of a pod template's containers."""
    return {"spec": {"template": {"spec": {"containers": list(containers)}}}}


def weakenings(child: Child) -> Iterator[tuple[str, Any, PatchKind]]:
    """Yield more edits for one Deployment, which are made one at a time: each needs a rollout."""
    name = child.body["spec"]["template"]["spec"]["containers"][0]["name"]
    image = {"name": name, "image": "localhost/none:none"}
    yield "another image", in_template(image), "strategic"
    env = {"name": name, "env": [{"name": "INTRUDER", "value": "1"}]}
    yield "an added env", in_template(env), "strategic"
    port = {"name": name, "ports": [{"name": "intruder", "containerPort": 6666}]}
    yield "an added port", in_template(port), "strategic"
    command = {"name": name, "args": ["--intruder"]}
    yield "added arguments", in_template(command), "strategic"
    root = {"name": name, "securityContext": {"readOnlyRootFilesystem": False}}
    yield "a writable root", in_template(root), "strategic"
    yield "a host network", {"spec": {"template": {"spec": {"hostNetwork": True}}}}, "merge"
    volume = {"name": "intruder", "emptyDir": {}}
    yield (
        "an added volume",
        {"spec": {"template": {"spec": {"volumes": [volume]}}}},
        "strategic",
    )
    yield "no replicas", {"spec": {"replicas": 0}}, "merge"


async def edit_and_see(child: Child, edit: tuple[str, Any, PatchKind], measure: Measure) -> None:
    """Edit a child, check that the edit was applied, and wait for the repair."""
    what, patch, kind = edit
    became = await child.patch(patch, kind)
    assert meaning(became) != meaning(child.body), f"{child}: {what} changed nothing"
    await repaired(child.as_it_was, f"{child}: {what}, put right", measure)


async def test_every_edited_child_is_repaired(cluster: Cluster, measure: Measure) -> None:
    every = [(child, edit) for child in await children(cluster) for edit in edits(child)]
    for child, edit in sample(every, EDITED, "edited children"):
        await edit_and_see(child, edit, measure)
    await cluster.wait_ready(within=180)


async def test_every_kind_of_edit_to_a_deployment_is_repaired(
    cluster: Cluster, measure: Measure
) -> None:
    component = "apertium"
    name = f"{cluster.name}-{component}"
    (child,) = [
        child
        for child in await children(cluster)
        if child.plural == "deployments" and child.name == name
    ]
    for edit in weakenings(child):
        await edit_and_see(child, edit, measure)
    await cluster.wait_ready(within=120)
    # The next test must not find a pod with a writable root.
    await cluster.wait_former_gone(component)
