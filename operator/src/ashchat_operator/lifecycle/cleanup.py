"""Delete what an AshChat with `deletionPolicy: Delete` leaves, and release the resource.

Level-based like everything else: each pass deletes what still exists. What is deleted already (with
its namespace, or by another client) counts as done.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from typing import Final

from ashchat_core.api.names import OPERATOR, Label
from ashchat_core.api.reasons import EventReason
from ashchat_operator.kube.api import Api
from ashchat_operator.kube.clock import rfc3339
from ashchat_operator.kube.errors import CONFLICT, NOT_FOUND, ApiServerError
from ashchat_operator.kube.events import Event, publish
from ashchat_operator.lifecycle.deletion import (
    OUTSIDE_PATIENCE,
    PATIENCE,
    belongs,
    condition,
    deleting,
    finalizers,
    holds,
    others,
    policy,
    waited,
)
from ashchat_operator.resource.enums import DeletionPolicy
from ashchat_operator.resource.types import WORKLOADS, Object

Step = Callable[[Object], Awaitable[Sequence[str]]]
"""Removes what the operator created outside the cluster for a resource.

Given the resource as the API server returned it, it returns what is left, for the user; empty:
done. A backend that does not exist any more counts as done. It is called in every pass until it is
done, while the Secrets of the resource exist. """

DATA: Final = ("PersistentVolumeClaim", "Secret")

_log = logging.getLogger(__name__)


class Cleanup:
    """Holds and releases resources by their deletion policy."""

    def __init__(self, api: Api, outside: Sequence[Step] = ()) -> None:
        self._api = api
        self._outside = outside

    async def held(self, body: Object) -> Object:
        """Return a resource that is not being deleted, with the finalizer that its policy needs.

        Raises:
            ApiServerError: It cannot be written; status 409: it changed in the meantime.
        """
        wanted = finalizers(body)
        return body if wanted is None else await self._hold(body, wanted)

    async def done(self, body: Object, now: datetime) -> bool:
        """Do what is left to do for a resource that is being deleted; return whether it is done.

        Raises:
            ApiServerError: The resource cannot be released; the next pass retries.
        """
        if not deleting(body) or not holds(body):
            return True
        left: Sequence[str] = ()
        if policy(body) is DeletionPolicy.DELETE:
            left = await self._left(body, now)
        if left and waited(body, now) < PATIENCE:
            await self._tell(body, left, now)
            return False
        try:
            await self._hold(body, others(body))
        except ApiServerError as error:
            if error.status == NOT_FOUND:
                return True
            raise
        where = f"{body['metadata']['namespace']}/{body['metadata']['name']}"
        if left:
            message = f"released after {PATIENCE.seconds // 60} minutes; left: {', '.join(left)}"
            _log.warning("%s: %s", where, message)
            await publish(
                self._api,
                body,
                Event(normal=False, reason=EventReason.CLEANUP_ABANDONED.value, message=message),
            )
        else:
            _log.info("%s: everything was deleted", where)
        return True

    async def _left(self, body: Object, now: datetime) -> Sequence[str]:
        """Delete what exists; return what is left.

        Claims follow when the workloads are deleted, because a StatefulSet would create them again.
        """
        workloads = await self._delete(body, WORKLOADS)
        if workloads:
            return workloads
        outside = [message for step in self._outside for message in await step(body)]
        if outside and waited(body, now) < OUTSIDE_PATIENCE:
            return outside
        return [*outside, *await self._delete(body, DATA)]

    async def _delete(self, body: Object, kinds: Iterable[str]) -> list[str]:
        where = body["metadata"]
        labels: dict[str, str] = {Label.INSTANCE: where["name"], Label.MANAGED_BY: OPERATOR}
        left = []
        for kind in kinds:
            try:
                found = await self._api.list(kind, where["namespace"], labels)
            except ApiServerError as error:
                left.append(f"objects of kind {kind} ({error})")
                continue
            for child in found:
                # Secrets that the resource owns are deleted with it.
                if not belongs(body, child) or (
                    kind in DATA and child["metadata"].get("ownerReferences")
                ):
                    continue
                message = f"{kind} {child['metadata']['name']}"
                if not deleting(child):
                    try:
                        await self._api.delete({**child, "kind": kind})
                    except ApiServerError as error:
                        message += f" ({error})"
                left.append(message)
        return left

    async def _hold(self, body: Object, wanted: Sequence[str]) -> Object:
        return await self._api.patch_metadata(
            # With the version, because a list is replaced as a whole: no other entry is lost.
            body,
            {"finalizers": list(wanted), "resourceVersion": body["metadata"]["resourceVersion"]},
            OPERATOR,
        )

    async def _tell(self, body: Object, left: Sequence[str], now: datetime) -> None:
        former = body.get("status", {})
        conditions = condition(
            former.get("conditions", []),
            left,
            body["metadata"]["generation"],
            rfc3339(now),
        )
        if conditions == former.get("conditions"):
            return
        status = {**former, "conditions": conditions}
        try:
            await self._api.replace({**body, "status": status}, OPERATOR, status=True)
        except ApiServerError as error:
            if error.status not in {CONFLICT, NOT_FOUND}:
                raise
