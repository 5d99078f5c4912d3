"""Additions of others are removed from exactly the version of the object that was read."""

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
    """Return the Service after another user added an external name to it."""
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
    """Returns the next version of the object for an apply; rejects a replacement if `refuses`."""

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


async def test_an_addition_is_removed_only_from_the_version_that_was_read() -> None:
    """Without the version, a concurrent write by another client would be lost."""
    api = Api()
    done = await bring(api, live("11"))
    (written,) = api.replaced
    assert written["metadata"]["resourceVersion"] == "11"
    assert "externalName" not in written["spec"]
    assert (written["kind"], written["apiVersion"]) == ("Service", "v1")
    assert not api.applied
    assert [str(change) for change in done.changes] == [f"removed additions from {SAYS}"]
    assert not done.problems


async def test_after_an_apply_an_addition_is_removed_from_the_resulting_version() -> None:
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


async def test_a_concurrent_write_is_neither_a_change_nor_a_problem() -> None:
    """The next reconcile pass reads the new version."""
    api = Api()
    api.refuses = ApiServerError(CONFLICT, "the object has been modified")
    done = await bring(api, live("11"))
    assert api.replaced
    assert not done.changes
    assert not done.problems
    assert not done.stopped
    assert done.live[KEY]["metadata"]["resourceVersion"] == "11"


@pytest.mark.parametrize("status", [FORBIDDEN, 422, 500])
async def test_a_refused_removal_is_reported_as_a_problem(status: int) -> None:
    api = Api()
    api.refuses = ApiServerError(status, "not by you")
    done = await bring(api, live("11"))
    assert done.problems == (f"{SAYS}: not by you",)
    assert done.reason == "Refused"
    assert not done.changes


class Namespace:
    """A namespace with at most one object, which does not have our labels."""

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


async def test_a_new_object_is_created_without_reading_it_first() -> None:
    namespace = Namespace()
    done = await namespace.bring()
    assert namespace.calls == ["make"]
    assert [str(change) for change in done.changes] == [f"applied {SAYS}"]
    assert done.live[KEY] == namespace.there


async def test_an_owned_object_without_our_labels_gets_them_again() -> None:
    body = copy.deepcopy(SERVICE)
    body["metadata"] |= {"labels": {}, "ownerReferences": [{"uid": ASH.uid}]}
    namespace = Namespace(body)
    done = await namespace.bring()
    assert namespace.calls == ["make", "get", "apply"]
    assert done.live[KEY]["metadata"]["labels"] == SERVICE["metadata"]["labels"]
    assert not done.problems


async def test_an_object_that_is_not_ours_is_read_and_not_written() -> None:
    foreign: Object = {"kind": "Service", "metadata": {"name": KEY[1]}, "spec": {}}
    namespace = Namespace(foreign)
    done = await namespace.bring()
    assert namespace.calls == ["make", "get"]
    assert (done.reason, done.changes) == ("NameTaken", ())
    assert SAYS in done.problems[0]
    assert namespace.there is foreign


async def test_an_object_is_created_even_if_the_version_is_refused() -> None:
    namespace = Namespace()
    namespace.makes = False
    done = await namespace.bring()
    assert namespace.calls == ["make", "get", "apply"]
    assert [str(change) for change in done.changes] == [f"applied {SAYS}"]
