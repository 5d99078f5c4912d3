"""What somebody else added is taken out of exactly the object that was read."""

import copy
from typing import Any

import pytest

from ashchat_core.api.names import OPERATOR
from ashchat_operator.kube.apply import Applied, apply
from ashchat_operator.kube.errors import CONFLICT, FORBIDDEN, ApiServerError
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
            {"manager": OPERATOR, "operation": "Apply", "fieldsV1": {}},
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
        self.refuses: ApiServerError | None = None
        self.applied: list[Object] = []
        self.replaced: list[Object] = []

    async def apply(self, body: Object, manager: str, *, new: bool = False) -> Object:
        assert manager == OPERATOR
        assert not new
        self.applied.append(body)
        return live("12")

    async def replace(self, body: Object, manager: str) -> Object:
        assert manager == OPERATOR
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
    assert [str(change) for change in done.changes] == [f"removed additions from {SAYS}"]
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
        f"removed additions from {SAYS}",
    ]


async def test_a_write_in_between_is_neither_a_change_nor_a_problem() -> None:
    """The next look sees what it was."""
    api = Api()
    api.refuses = ApiServerError(CONFLICT, "the object has been modified")
    done = await bring(api, live("11"))
    assert api.replaced
    assert not done.changes
    assert not done.problems
    assert not done.stopped
    assert done.live[KEY]["metadata"]["resourceVersion"] == "11"


@pytest.mark.parametrize("status", [FORBIDDEN, 422, 500])
async def test_a_refusal_to_take_it_out_is_a_persons_problem(status: int) -> None:
    api = Api()
    api.refuses = ApiServerError(status, "not by you")
    done = await bring(api, live("11"))
    assert done.problems == (f"{SAYS}: not by you",)
    assert done.reason == "Refused"
    assert not done.changes


class Namespace:
    """A namespace with at most one object, which our labels do not find."""

    def __init__(self, there: Object | None = None) -> None:
        self.there = there
        self.makes = True
        self.calls: list[str] = []

    async def apply(self, body: Object, manager: str, *, new: bool = False) -> Object:
        self.calls.append("make" if new else "apply")
        if new and (self.there is not None or not self.makes):
            raise ApiServerError(CONFLICT, "the object has been modified")
        entry = {"manager": manager, "operation": "Apply"}
        self.there = {**body, "metadata": {**body["metadata"], "managedFields": [entry]}}
        return self.there

    async def get(self, *_: object) -> Object | None:
        self.calls.append("get")
        return self.there

    async def bring(self) -> Applied:
        return await apply(self, ASH, [SERVICE], {})  # type: ignore[arg-type]


async def test_what_is_new_is_made_without_looking_for_it_first() -> None:
    namespace = Namespace()
    done = await namespace.bring()
    assert namespace.calls == ["make"]
    assert [str(change) for change in done.changes] == [f"applied {SAYS}"]
    assert done.live[KEY] == namespace.there


async def test_what_is_ours_though_our_labels_were_taken_off_gets_them_again() -> None:
    body = copy.deepcopy(SERVICE)
    body["metadata"] |= {"labels": {}, "ownerReferences": [{"uid": ASH.uid}]}
    namespace = Namespace(body)
    done = await namespace.bring()
    assert namespace.calls == ["make", "get", "apply"]
    assert done.live[KEY]["metadata"]["labels"] == SERVICE["metadata"]["labels"]
    assert not done.problems


async def test_what_is_somebody_elses_is_read_and_not_written_to() -> None:
    foreign: Object = {"kind": "Service", "metadata": {"name": KEY[1]}, "spec": {}}
    namespace = Namespace(foreign)
    done = await namespace.bring()
    assert namespace.calls == ["make", "get"]
    assert (done.reason, done.changes) == ("NameTaken", ())
    assert SAYS in done.problems[0]
    assert namespace.there is foreign


async def test_it_is_made_also_where_a_version_is_refused_of_what_is_not_there() -> None:
    namespace = Namespace()
    namespace.makes = False
    done = await namespace.bring()
    assert namespace.calls == ["make", "get", "apply"]
    assert [str(change) for change in done.changes] == [f"applied {SAYS}"]
