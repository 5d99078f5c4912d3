"""What somebody else added is taken out of exactly the object that was read."""

import copy
from typing import Any

import pytest

from ashchat_operator.api import CONFLICT, FORBIDDEN, RefusedByApiServer
from ashchat_operator.apply import Applied, apply
from ashchat_operator.render.common import MANAGER
from operator_rendering import rendered, resource

Object = dict[str, Any]

ASH = resource("minimal")
SERVICE = next(item for item in rendered("minimal") if item["kind"] == "Service")
KEY = ("Service", SERVICE["metadata"]["name"])
SAYS = " ".join(KEY)


def live(version: str) -> Object:
    """Return the Service as somebody left it who added a name for it outside the cluster."""
    body = copy.deepcopy(SERVICE)
    body["spec"]["externalName"] = "elsewhere.example.org"
    body["metadata"] |= {
        "uid": "7",
        "resourceVersion": version,
        "managedFields": [
            {"manager": MANAGER, "operation": "Apply", "fieldsV1": {}},
            {
                "manager": "kubectl-edit",
                "operation": "Update",
                "fieldsV1": {"f:spec": {"f:externalName": {}}},
            },
        ],
    }
    return body


class Api:
    """Answers an apply with the object in its next version, and a replacement as told."""

    def __init__(self) -> None:
        self.refuses: RefusedByApiServer | None = None
        self.applied: list[Object] = []
        self.replaced: list[Object] = []

    async def apply(self, body: Object, manager: str) -> Object:
        assert manager == MANAGER
        self.applied.append(body)
        return live("12")

    async def replace(self, body: Object, manager: str) -> Object:
        assert manager == MANAGER
        self.replaced.append(body)
        if self.refuses is not None:
            raise self.refuses
        return body


async def bring(api: Api, found: Object) -> Applied:
    return await apply(api, ASH, [SERVICE], {KEY: found})  # type: ignore[arg-type]


async def test_an_addition_is_taken_out_of_the_version_that_was_read_and_of_no_other() -> None:
    """Without the version, what somebody wrote in between would be lost."""
    api = Api()
    done = await bring(api, live("11"))
    (written,) = api.replaced
    assert written["metadata"]["resourceVersion"] == "11"
    assert "externalName" not in written["spec"]
    assert (written["kind"], written["apiVersion"]) == ("Service", "v1")
    assert not api.applied
    assert [str(change) for change in done.changes] == [f"took out of {SAYS} what was added to it"]
    assert not done.problems


async def test_after_an_apply_it_is_taken_out_of_the_version_that_this_made() -> None:
    api = Api()
    found = live("11")
    found["spec"]["ports"][0]["port"] += 1
    done = await bring(api, found)
    (written,) = api.replaced
    assert written["metadata"]["resourceVersion"] == "12"
    assert [str(change) for change in done.changes] == [
        f"applied {SAYS}",
        f"took out of {SAYS} what was added to it",
    ]


async def test_a_write_in_between_is_neither_a_change_nor_a_problem() -> None:
    """The next look sees what it was."""
    api = Api()
    api.refuses = RefusedByApiServer(CONFLICT, "the object has been modified")
    done = await bring(api, live("11"))
    assert api.replaced
    assert not done.changes
    assert not done.problems
    assert not done.stopped
    assert done.live[KEY]["metadata"]["resourceVersion"] == "11"


@pytest.mark.parametrize("status", [FORBIDDEN, 422, 500])
async def test_a_refusal_to_take_it_out_is_a_persons_problem(status: int) -> None:
    api = Api()
    api.refuses = RefusedByApiServer(status, "not by you")
    done = await bring(api, live("11"))
    assert done.problems == (f"{SAYS}: not by you",)
    assert done.reason == "Refused"
    assert not done.changes
