"""Build the metadata, workloads, Services, ConfigMaps and volume claims of all components."""

from collections.abc import Mapping
from typing import Final

from ashchat_core.api.names import API_VERSION, KIND
from ashchat_operator.resource.enums import AccessMode
from ashchat_operator.resource.model import AshChat
from ashchat_operator.resource.names import child, labels, selector
from ashchat_operator.resource.types import Object

RELOADER_ANNOTATION: Final = "reloader.stakater.com/auto"
"""On workloads, "false": not even with `--auto-reload-all` does Stakater Reloader restart them.

What it adds to a pod template is taken out again, so each change would restart the pods twice.
Its annotation `ignore` would not do: it is read on ConfigMaps and Secrets only
(https://docs.stakater.com/reloader/1.4/reference/annotations.html).
"""


def owner(ash: AshChat) -> Object:
    """Return the owner reference that deletes an object together with its AshChat."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": ash.name,
        "uid": ash.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def metadata(
    ash: AshChat, component: str, *, name: str | None = None, retained: bool = False
) -> Object:
    """Return an object's metadata.

    Args:
        ash: Whose object it is.
        component: Which component's.
        name: Its name, if not the component's own.
        retained: It outlives the resource: no owner reference.
    """
    result: Object = {
        "name": name or child(ash, component),
        "namespace": ash.namespace,
        "labels": labels(ash, component),
    }
    if not retained:
        result["ownerReferences"] = [owner(ash)]
    return result


def workload_metadata(ash: AshChat, component: str) -> Object:
    """Return the metadata of a Deployment or StatefulSet."""
    return {**metadata(ash, component), "annotations": {RELOADER_ANNOTATION: "false"}}


def spread(ash: AshChat, component: str) -> Object:
    """Return the fields of a pod's spec that spread a component's pods over nodes and zones.

    They are preferences: in a cluster of one node all pods start. With one pod they have no
    effect, but are set anyway; otherwise scaling to two would restart the first pod. The pods
    of each rollout are spread separately (matchLabelKeys, KEP-3243 and KEP-3633).

    Zones are no second constraint: the scheduler ignores nodes that lack the label of any
    constraint, and so would not spread at all in a cluster without zones.
    """
    pods: Object = {
        "labelSelector": {"matchLabels": selector(ash, component)},
        "matchLabelKeys": ["pod-template-hash"],
    }
    node: Object = {
        "topologyKey": "kubernetes.io/hostname",
        "maxSkew": 1,
        "whenUnsatisfiable": "ScheduleAnyway",
    }
    zone: Object = {"topologyKey": "topology.kubernetes.io/zone"}
    apart = {"weight": 100, "podAffinityTerm": {**zone, **pods}}
    return {
        "topologySpreadConstraints": [{**node, **pods}],
        "affinity": {
            "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [apart]}
        },
    }


def deployment(
    ash: AshChat, component: str, *, replicas: int | None, template: Object, recreate: bool = False
) -> Object:
    """Return a Deployment; `recreate` if two pods must never run at the same time.

    Without `replicas` it has none either: an autoscaler sets them.
    """
    strategy: Object = {"type": "Recreate"}
    if not recreate:
        # No pod stops before its successor is ready.
        strategy = {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
        }
    if not recreate:
        fields = spread(ash, component)
        affinity = {**template["spec"].get("affinity", {}), **fields["affinity"]}
        template["spec"] |= {**fields, "affinity": affinity}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": workload_metadata(ash, component),
        "spec": {
            **({} if replicas is None else {"replicas": replicas}),
            "revisionHistoryLimit": 3,
            "selector": {"matchLabels": selector(ash, component)},
            "strategy": strategy,
            "template": template,
        },
    }


def stateful_set(
    ash: AshChat, component: str, *, template: Object, claim: Object, replicas: int = 1
) -> Object:
    """Return a StatefulSet whose pods have one volume each, called `data`.

    The volume stays when the StatefulSet goes (the default retention policy): what happens
    to data is never a side effect.
    """
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": workload_metadata(ash, component),
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": 3,
            "serviceName": child(ash, component),
            "selector": {"matchLabels": selector(ash, component)},
            # A stuck first pod must not block the update that repairs it.
            "podManagementPolicy": "Parallel",
            "updateStrategy": {"type": "RollingUpdate"},
            "template": template,
            "volumeClaimTemplates": [claim],
        },
    }


def claim_spec(
    size: str, storage_class: str | None, access_mode: AccessMode = AccessMode.READ_WRITE_ONCE
) -> Object:
    """Return the spec of a volume claim."""
    spec: Object = {
        "accessModes": [access_mode.value],
        "resources": {"requests": {"storage": size}},
    }
    if storage_class is not None:
        spec["storageClassName"] = storage_class
    return spec


def claim_template(ash: AshChat, component: str, size: str, storage_class: str | None) -> Object:
    """Return the volume claim template of a StatefulSet."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "labels": labels(ash, component)},
        "spec": claim_spec(size, storage_class),
    }


def service(
    ash: AshChat,
    component: str,
    ports: Mapping[str, int],
    *,
    name: str | None = None,
    headless: bool = False,
    publish_not_ready: bool = False,
) -> Object:
    """Return a Service inside the cluster.

    Args:
        ash: Whose it is.
        component: Which pods it selects.
        ports: Name to number; the pods' ports have the same numbers.
        name: Its name, if not the component's own.
        headless: Its name resolves to the pods' addresses.
        publish_not_ready: Pods that are not ready are reached as well.
    """
    spec: Object = {
        "type": "ClusterIP",
        "selector": selector(ash, component),
        "ports": [
            {"name": key, "port": number, "targetPort": number, "protocol": "TCP"}
            for key, number in ports.items()
        ],
    }
    if headless:
        spec["clusterIP"] = "None"
    if publish_not_ready:
        spec["publishNotReadyAddresses"] = True
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(ash, component, name=name),
        "spec": spec,
    }


def config_map(
    ash: AshChat, component: str, data: Mapping[str, str], *, name: str | None = None
) -> Object:
    """Return a ConfigMap."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(ash, component, name=name),
        "data": dict(data),
    }
