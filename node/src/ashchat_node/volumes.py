"""Dynamic volumes: local-path-provisioner and the default StorageClass.

The objects follow deploy/local-path-storage.yaml of the provisioner's module, with the node's
folder and image, and volumes of type `local`: only for those does the kubelet apply a pod's
fsGroup, which pods need that do not run as root.
"""

import json
from pathlib import Path
from typing import Any, Final

from ashchat_node.workload import deployment

NAMESPACE: Final = "local-path-storage"
NAME: Final = "local-path-provisioner"
STORAGE_CLASS: Final = "local-path"
_GRACE_SECONDS: Final = 0


def objects(image: str, helper_image: str, folder: Path) -> list[dict[str, Any]]:
    """Return the objects to apply.

    Args:
        image: The provisioner.
        helper_image: An image with a shell, which creates and removes folders on the node.
        folder: The folder of the volumes.
    """
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _metadata()},
        *_role_objects(),
        _config_map(helper_image, folder),
        _deployment(image),
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {
                "name": STORAGE_CLASS,
                "annotations": {
                    "storageclass.kubernetes.io/is-default-class": "true",
                    "defaultVolumeType": "local",
                },
            },
            "provisioner": "rancher.io/local-path",
            "volumeBindingMode": "WaitForFirstConsumer",
            "reclaimPolicy": "Delete",
        },
    ]


def _metadata() -> dict[str, str]:
    return {"name": NAME, "namespace": NAMESPACE}


def _role_objects() -> list[dict[str, Any]]:
    read = ["get", "list", "watch"]
    write = [*read, "create", "patch", "update", "delete"]
    subject = {"kind": "ServiceAccount", **_metadata()}
    group = "rbac.authorization.k8s.io"
    return [
        {
            "apiVersion": f"{group}/v1",
            "kind": "Role",
            "metadata": _metadata(),
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": write}],
        },
        {
            "apiVersion": f"{group}/v1",
            "kind": "ClusterRole",
            "metadata": {"name": NAME},
            "rules": [
                {
                    "apiGroups": [""],
                    "resources": [
                        "nodes",
                        "persistentvolumeclaims",
                        "configmaps",
                        "pods",
                        "pods/log",
                    ],
                    "verbs": read,
                },
                {"apiGroups": [""], "resources": ["persistentvolumes"], "verbs": write},
                {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]},
                {
                    "apiGroups": ["storage.k8s.io"],
                    "resources": ["storageclasses"],
                    "verbs": read,
                },
            ],
        },
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": _metadata(),
            "roleRef": {"apiGroup": group, "kind": "Role", "name": NAME},
            "subjects": [subject],
        },
        {
            "apiVersion": f"{group}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": NAME},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": NAME},
            "subjects": [subject],
        },
    ]


def _config_map(helper_image: str, folder: Path) -> dict[str, Any]:
    helper = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "helper-pod"},
        "spec": {
            "priorityClassName": "system-node-critical",
            "terminationGracePeriodSeconds": _GRACE_SECONDS,
            "containers": [
                {"name": "helper-pod", "image": helper_image, "imagePullPolicy": "Never"}
            ],
        },
    }
    config = {
        "nodePathMap": [{"node": "DEFAULT_PATH_FOR_NON_LISTED_NODES", "paths": [str(folder)]}]
    }
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "local-path-config", "namespace": NAMESPACE},
        "data": {
            "config.json": json.dumps(config),
            "setup": '#!/bin/sh\nset -eu\nmkdir -m 0777 -p "$VOL_DIR"\n',
            "teardown": '#!/bin/sh\nset -eu\nrm -rf "$VOL_DIR"\n',
            "helperPod.yaml": json.dumps(helper),
        },
    }


def _deployment(image: str) -> dict[str, Any]:
    container = {
        "name": NAME,
        "image": image,
        "args": [
            "start",
            "--config=/etc/config/config.json",
            f"--service-account-name={NAME}",  # of the helper pods
        ],
        "env": [
            {
                "name": "POD_NAMESPACE",
                "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}},
            },
            {"name": "CONFIG_MOUNT_PATH", "value": "/etc/config/"},
        ],
        "volumeMounts": [{"name": "config", "mountPath": "/etc/config/"}],
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
    }
    return deployment(
        _metadata(),
        {"app": NAME},
        container,
        serviceAccountName=NAME,
        volumes=[{"name": "config", "configMap": {"name": "local-path-config"}}],
    )
