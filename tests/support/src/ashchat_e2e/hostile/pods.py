"""The pods that send hostile load, in a namespace that exists only for them."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from ashchat_dev.kube.api import ApiError
from ashchat_dev.kube.cluster import Cluster, pod_ready
from ashchat_dev.waiting import until
from ashchat_e2e.hostile.generator import Plan
from ashchat_e2e.hostile.tally import Tally
from ashchat_e2e.operator_pods import OPERATOR
from ashchat_e2e.temporary_namespace import namespace

HERE: Final = Path(__file__).parent
MODULES: Final = ("attacks", "generator", "null_server", "tally")
"""What the pods run."""

SOURCES: Final = {f"{name}.py": (HERE / f"{name}.py").read_text() for name in MODULES}
"""Read at import, so that pods run what this process has imported, though files change."""

CPU: Final = "250m"
"""CPU limit of a sender: two of them have half a core."""

NULL: Final = "null"
NULL_PORT: Final = 8080
STARTS_WITHIN_S: Final = 60.0
ENDS_WITHIN_S: Final = 60.0

Object = dict[str, Any]


class Field:
    """A namespace with the sources of the load, and a null server."""

    def __init__(self, own: Cluster, image: str, null_url: str = "") -> None:
        self._own = own
        self._image = image
        self.null_url = null_url

    async def start(self, name: str, *arguments: str, plan: str = "{}") -> None:
        """Start a pod that runs a module."""
        await self._own.create(
            "configmaps", {"metadata": {"name": name}, "data": {"plan.json": plan}}
        )
        await self._own.create("pods", _pod(name, self._image, arguments))

    async def attack(self, plans: Mapping[str, Plan]) -> dict[str, Tally]:
        """Run one sender for each plan, concurrently; return their tallies by name.

        Raises:
            AssertionError: A sender did not end as it should.
        """
        return dict(
            zip(
                plans,
                await asyncio.gather(*(self._send(name, plan) for name, plan in plans.items())),
                strict=True,
            )
        )

    async def _send(self, name: str, plan: Plan) -> Tally:
        arguments = ("ashchat_e2e.hostile.generator", "/plan/plan.json")
        await self.start(name, *arguments, plan=plan.dumps())

        async def ended() -> str:
            phase: str = (await self._own.read("pods", name))["status"].get("phase", "")
            return phase if phase in {"Succeeded", "Failed"} else ""

        within = STARTS_WITHIN_S + plan.seconds + ENDS_WITHIN_S
        phase = await until(ended, within=within, every=1, what=f"{name} ended")
        text = await self._own.logs(name)
        assert phase == "Succeeded", text[-2_000:]
        await self._own.delete("pods", name, now=True)
        await self._own.delete("configmaps", name)
        return Tally.loads(text.strip().splitlines()[-1])


@asynccontextmanager
async def field(cluster: Cluster) -> AsyncIterator[Field]:
    """Create the namespace with a null server in it; delete it at the end."""
    deployment = await cluster.read("deployments", OPERATOR, namespace=cluster.operator_namespace)
    # Its image has aiohttp, which it depends on, and is on every node already.
    image = deployment["spec"]["template"]["spec"]["containers"][0]["image"]
    async with namespace(cluster, f"{cluster.namespace}-hostile", pods=True) as own:
        await own.create(
            "configmaps",
            {
                "metadata": {"name": "modules"},
                "data": dict(SOURCES),
            },
        )
        found = Field(own, image)

        async def admits_pods() -> bool:
            return await own.find("serviceaccounts", "default") is not None

        await until(admits_pods, what="the namespace's service account", ignoring=(ApiError,))
        await found.start(NULL, "ashchat_e2e.hostile.null_server", str(NULL_PORT))

        async def serving() -> str:
            pod = await own.read("pods", NULL)
            return str(pod["status"].get("podIP", "")) if pod_ready(pod) else ""

        address = await until(serving, within=STARTS_WITHIN_S, what="the null server ready")
        found.null_url = f"http://{address}:{NULL_PORT}"
        yield found


def _pod(name: str, image: str, arguments: Sequence[str]) -> Object:
    modules = [{"key": f"{each}.py", "path": f"ashchat_e2e/hostile/{each}.py"} for each in MODULES]
    probe: Object = {"httpGet": {"path": "/", "port": NULL_PORT}, "periodSeconds": 1}
    container: Object = {
        "name": "load",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/opt/ashchat/bin/python", "-m", *arguments],
        "env": [{"name": "PYTHONPATH", "value": "/load"}],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "resources": {
            "requests": {"cpu": "1m", "memory": "64Mi"},
            "limits": {"memory": "256Mi"} | ({} if name == NULL else {"cpu": CPU}),
        },
        "volumeMounts": [
            {"name": "modules", "mountPath": "/load", "readOnly": True},
            {"name": "plan", "mountPath": "/plan", "readOnly": True},
        ],
    }
    if name == NULL:
        container["readinessProbe"] = probe
    return {
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 1,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 10001,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "volumes": [
                {"name": "modules", "configMap": {"name": "modules", "items": modules}},
                {"name": "plan", "configMap": {"name": name}},
            ],
        },
    }
