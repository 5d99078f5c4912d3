"""Every object that another object refers to is rendered as well."""

from typing import Any

from ashchat_core.topology import Service

Object = dict[str, Any]
WORKLOADS = {"Deployment", "StatefulSet"}

BACKENDS = {"rabbitmq", "redis", "cache", "mongodb"}


def pod_spec(item: Object) -> Object:
    """Return a workload's pod specification; empty for other objects."""
    spec: Object = item["spec"]["template"]["spec"] if item["kind"] in WORKLOADS else {}
    return spec


def test_what_pods_mount_exists(objects: list[dict[str, Any]]) -> None:
    there = {(item["kind"], item["metadata"]["name"]): item for item in objects}
    for item in objects:
        for volume in pod_spec(item).get("volumes", []):
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in there
            if "persistentVolumeClaim" in volume:
                claim = volume["persistentVolumeClaim"]["claimName"]
                assert ("PersistentVolumeClaim", claim) in there
            if "secret" in volume:
                source = volume["secret"]
                secret = there["Secret", source["secretName"]]
                assert {key["key"] for key in source.get("items", [])} <= set(secret["data"])


def test_services_lead_to_ports_of_pods(objects: list[dict[str, Any]]) -> None:
    for service in (item for item in objects if item["kind"] == "Service"):
        selector = service["spec"]["selector"].items()
        (workload,) = [
            item
            for item in objects
            if pod_spec(item) and selector <= item["spec"]["template"]["metadata"]["labels"].items()
        ]
        ports = {
            port["containerPort"]
            for container in pod_spec(workload)["containers"]
            for port in container.get("ports", [])
        }
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports


def test_only_data_and_credentials_outlive_the_resource(objects: list[dict[str, Any]]) -> None:
    retained = {
        (item["kind"], item["metadata"]["name"].partition("-")[2])
        for item in objects
        if "ownerReferences" not in item["metadata"]
    }
    managed = {
        item["metadata"]["labels"]["app.kubernetes.io/component"]
        for item in objects
        if item["kind"] in {"Deployment", "StatefulSet"}
    }
    assert retained == {
        ("PersistentVolumeClaim", "static"),
        ("Secret", "rotation-logins"),
        ("Secret", "auth-signing-keys"),
        ("Secret", "auth-signing-keys-copy"),
        ("Secret", "auth-key-ring"),
        ("Secret", "auth-key-ring-copy"),
        *(("Secret", f"{name}-admin") for name in sorted(BACKENDS & managed)),
        *(("Secret", f"{name}-credentials") for name in Service),
    }
