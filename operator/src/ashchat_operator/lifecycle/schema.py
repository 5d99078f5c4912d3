"""Checks that the API server serves the schema that this operator was written for.

Helm never upgrades what it installed from `crds/`, and another team may install the definition.
With an older one the API server silently drops unknown fields, so an operator that continued would
revert what users requested. The revision is read from the published OpenAPI document, which every
service account may read
(https://kubernetes.io/docs/reference/access-authn-authz/rbac/#discovery-roles): no right on
CustomResourceDefinitions is needed.
"""

import asyncio
import logging
import re
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import ClientError

from ashchat_core.api.conditions import ConditionStatus, ConditionType, Finding
from ashchat_core.api.names import GROUP, KIND, PLURAL, VERSION
from ashchat_core.api.reasons import Reason
from ashchat_operator.kube.api import Api
from ashchat_operator.kube.errors import FORBIDDEN, NOT_FOUND, ApiServerError
from ashchat_operator.status.conditions import with_one

REVISION: Final = 12
"""The revision of crds/ashchat.dev_ashchats.yaml; a test compares."""

EVERY_SECONDS: Final = 15.0
WAITING_SECONDS: Final = 2.0
RUN: Final = (
    "run: kubectl apply --server-side --force-conflicts -f crds/ashchat.dev_ashchats.yaml"
    " (of the operator's version)"
)

_PATH: Final = f"/openapi/v3/apis/{GROUP}/{VERSION}"
_WRITTEN: Final = re.compile(r"Schema revision (\d+)\.")
_log = logging.getLogger(__name__)


def revision(document: Mapping[str, Any]) -> int:
    """Return the revision of the schema in an OpenAPI document; 0: it has none."""
    kind = {"group": GROUP, "version": VERSION, "kind": KIND}
    for schema in document.get("components", {}).get("schemas", {}).values():
        if kind in schema.get("x-kubernetes-group-version-kind", []):
            found = _WRITTEN.search(" ".join(schema.get("description", "").split()))
            return int(found[1]) if found else 0
    return 0


def wrong_with(served: int | None) -> str:
    """Return what is wrong with the served schema and what to do; empty: nothing.

    Args:
        served: Its revision; None: no definition is served.
    """
    definition = f"the CustomResourceDefinition {PLURAL}.{GROUP}"
    if served is None:
        return f"{definition} is not installed; {RUN}"
    if served < REVISION:
        return (
            f"{definition} has schema revision {served}, this operator needs {REVISION};"
            f" nothing is reconciled until then; {RUN}"
        )
    return ""


def finding(message: str) -> Finding:
    """Return the condition."""
    if message:
        return Finding(ConditionStatus.FALSE, Reason.SCHEMA_OUTDATED, message)
    return Finding(ConditionStatus.TRUE, Reason.UP_TO_DATE)


def outdated_status(body: Mapping[str, Any], message: str, now: str) -> dict[str, Any]:
    """Return the status as it was, with the condition: nothing else is known to be true."""
    return with_one(body, ConditionType.SCHEMA_CURRENT, finding(message), now)


class Schema:
    """The schema that the API server serves."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._served = asyncio.Event()
        self.message = "the schema has not been read yet"
        """What is wrong, and what to do; empty: nothing."""

    async def served(self) -> None:
        """Wait until a schema of any revision is served: before that there is nothing to watch."""
        await self._served.wait()

    async def check(self) -> None:
        """Read the schema once."""
        try:
            served: int | None = revision(await self._api.document(_PATH))
        except ApiServerError as error:
            if error.status == FORBIDDEN:
                # The discovery roles were removed. The revision cannot be determined.
                served = REVISION
            elif error.status == NOT_FOUND:
                served = None
            else:
                raise
        message = wrong_with(served)
        if message != self.message:
            _log.log(logging.ERROR if message else logging.INFO, message or "the schema is current")
        self.message = message
        if served is not None:
            self._served.set()

    async def watch(self) -> None:
        """Read the schema at intervals until cancelled."""
        while True:
            try:
                await self.check()
            except (ApiServerError, ClientError, OSError, TimeoutError, ValueError) as error:
                _log.warning("the schema could not be read: %s", error or "no answer")
            fine = self._served.is_set() and not self.message
            await asyncio.sleep(EVERY_SECONDS if fine else WAITING_SECONDS)
