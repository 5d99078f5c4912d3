"""With an outdated CRD, the operator reports it, waits, and resumes after the upgrade."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from ashchat_core.api.conditions import ConditionType
from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.waiting import until
from ashchat_e2e.operator_pods import operator_pods, own_metrics, reconciled

DEFINITION = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/ashchats.ashchat.dev"
PATH = "/spec/versions/0/schema/openAPIV3Schema/description"
NOTICED_S = 60.0


pytestmark = pytest.mark.exclusive


async def describe(cluster: Cluster, text: str) -> str:
    """Set the CRD's description; return the previous one."""
    crd = await cluster.get(DEFINITION)
    before: str = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["description"]
    # Use the installer's field manager, to avoid a conflict at the next upgrade of the chart.
    managers = [
        entry["manager"]
        for entry in crd["metadata"]["managedFields"]
        if "f:spec" in entry["fieldsV1"] and not entry.get("subresource")
    ]
    await cluster.request(
        "PATCH",
        DEFINITION,
        json=[{"op": "replace", "path": PATH, "value": text}],
        content_type="application/json-patch+json",
        fieldManager=managers[0],
    )
    return before


@pytest_asyncio.fixture(loop_scope="session")
async def older(cluster: Cluster, ready: None) -> AsyncIterator[None]:  # noqa: ARG001
    """Serve an outdated CRD; restore the operator's own at the end."""
    before = await describe(cluster, "As it was long ago. Schema revision 1.")
    yield
    await describe(cluster, before)

    async def current() -> bool:
        return await schema_current(cluster) == "True"

    await until(current, within=NOTICED_S, what="the operator's schema current again")


async def schema_current(cluster: Cluster) -> str:
    conditions = (await cluster.resource())["status"]["conditions"]
    return str(next(x["status"] for x in conditions if x["type"] == ConditionType.SCHEMA_CURRENT))


async def test_it_waits_and_reports_what_to_run(cluster: Cluster, older: None) -> None:  # noqa: ARG001
    async def told() -> str | None:
        for item in (await cluster.resource())["status"]["conditions"]:
            if item["type"] == ConditionType.SCHEMA_CURRENT and item["status"] == "False":
                return str(item["message"])
        return None

    says = await until(told, within=NOTICED_S, what="the condition SchemaCurrent False")
    assert "revision 1" in says
    assert "kubectl apply --server-side" in says
    assert (await own_metrics(cluster)).total("ashchat_operator_schema_current") == 0
    name = (await cluster.list("configmaps", cluster.labels("rabbitmq")))[0]["metadata"]["name"]
    await cluster.delete("configmaps", name)
    await reconciled(cluster, 2)
    assert await cluster.find("configmaps", name) is None, "it was reconciled anyway"

    async def unready() -> bool:
        pods = await operator_pods(cluster)
        return not any(s["ready"] for pod in pods for s in pod["status"]["containerStatuses"])

    # This keeps the previous operator running during a rolling upgrade with an outdated CRD.
    await until(unready, within=30, what="the operator's pod not Ready")
    (pod,) = await operator_pods(cluster)
    log = await cluster.logs(pod["metadata"]["name"], namespace=cluster.operator_namespace)
    assert "schema revision 1" in log
