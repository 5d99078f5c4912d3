"""One look at one AshChat, from what is there to what is wanted. Level-based.

    read → credentials → render → apply → backends → status

Nothing is remembered from look to look but the backends' last answers (`declare`), so a
look may be interrupted anywhere and the next one goes on.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import ValidationError

from ashchat_operator import conditions, exposure, given, way_in
from ashchat_operator.api import CONFLICT, NOT_FOUND, Api, RefusedByApiServer
from ashchat_operator.apply import Live, apply, find
from ashchat_operator.backend import Backend
from ashchat_operator.conditions import Component
from ashchat_operator.credentials import Credentials, complete, secret_names
from ashchat_operator.declare import Declarer, Results, targets
from ashchat_operator.events import publish, transitions
from ashchat_operator.metrics import CERTIFICATE_EXPIRY, READY, RECONCILES, WRITES
from ashchat_operator.model import KIND, AshChat
from ashchat_operator.render import platform
from ashchat_operator.render.common import (
    COMPONENT_LABEL,
    MANAGER,
    Context,
    child,
    quantity,
    selector,
)
from ashchat_operator.render.exposure import WayIn
from ashchat_operator.secret_data import decoded

Object = dict[str, Any]
Key = tuple[str, str]

SOON_LOOKS: Final = 60
"""So many looks go by at full pace before they become rarer."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds until the next look."""

    settled: float
    progressing: float


class Reconciler:
    """Looks at AshChats; one look at a resource at a time (`wake.Keepers` sees to it)."""

    def __init__(self, api: Api, context: Context, *, version: str, pace: Pace) -> None:
        self._api = api
        self._context = context
        self._version = version
        self._pace = pace
        self._declarers: dict[Key, Declarer] = {}
        self._unsettled: dict[Key, int] = {}

    async def look(self, namespace: str, name: str, wake: Callable[[], None]) -> float:
        """Bring one AshChat to what is wanted, as far as it goes now.

        Args:
            namespace: Its namespace.
            name: Its name.
            wake: Asks for another look, when something that takes long has ended.

        Returns:
            Seconds until the next look.

        Raises:
            RefusedByApiServer: Reading failed; nothing was decided on what was not read.
        """
        body = await self._api.get(KIND, namespace, name)
        if body is None or "deletionTimestamp" in body["metadata"]:
            # Its objects go with it by their owner references; data and secrets stay.
            await self.forget(namespace, name)
            return self._pace.settled
        try:
            ash = AshChat.parse(body)
        except ValidationError:
            _log.exception("%s/%s is not what the schema promises", namespace, name)
            return self._pace.settled
        settled = await self._reconcile(ash, body, wake)
        RECONCILES.inc()
        return self._again(namespace, name, settled=settled)

    def _again(self, namespace: str, name: str, *, settled: bool) -> float:
        """Return when to look again: soon while it is on its way, less often if that takes long.

        What ends the waiting is a change of a child as a rule, and wakes by itself.
        """
        key = (namespace, name)
        if settled:
            self._unsettled.pop(key, None)
            return self._pace.settled
        looks = self._unsettled.get(key, 0) + 1
        self._unsettled[key] = looks
        return min(self._pace.progressing * max(1.0, looks / SOON_LOOKS), self._pace.settled)

    async def forget(self, namespace: str, name: str) -> None:
        """Stop what goes on for a resource."""
        self._unsettled.pop((namespace, name), None)
        with suppress(KeyError):
            CERTIFICATE_EXPIRY.remove(namespace, name)
        declarer = self._declarers.pop((namespace, name), None)
        if declarer is not None:
            await declarer.close()

    async def _reconcile(self, ash: AshChat, body: Object, wake: Callable[[], None]) -> bool:
        found = await find(self._api, ash)
        gifts = await given.read(self._api, ash)
        known_ring = dict(body.get("status", {}).get("keyRing", {}))
        credentials = await self._credentials(ash, found, gifts, known_ring)
        found_way = await way_in.read(self._api, ash, found, datetime.now(UTC))
        objects = platform.render(ash, self._context, credentials, found_way)
        applied = await apply(self._api, ash, objects, found)
        problems = [*applied.problems, *await self._grow(ash, applied.live)]
        WRITES.inc(len(applied.changes))
        for change in applied.changes:
            _log.info("%s/%s: %s", ash.namespace, ash.name, change)
        components = await self._components(ash, applied.live)
        results = await self._declare(ash, credentials, components, wake)
        components = [conditions.with_topology(item, results) for item in components]
        for component, says in (gifts.missing or {}).items():
            problems.append(says)
            components = [
                replace(item, ready=False, reason="SecretMissing", message=says)
                if item.name == component
                else item
                for item in components
            ]
        lost = conditions.key_ring_lost(ash, credentials.key_ring.lost)
        if lost:
            problems.append(lost)
            components = [conditions.with_lost_ring(item, lost) for item in components]
        components = exposure.components(ash, components, applied.live, found_way)
        status = conditions.status(
            ash,
            components=components,
            results=results,
            problems=problems,
            address=exposure.url(ash, found_way) or conditions.url(ash, applied.live),
            version=self._version,
            key_ring=credentials.key_ring.fingerprints(known_ring),
            more=exposure.conditions(found_way),
            former=body.get("status", {}),
            now=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        )
        ready = status["conditions"][0]["status"] == "True"
        READY.labels(ash.namespace, ash.name).set(ready)
        _tell_expiry(ash, found_way)
        written = await self._tell(body, status)
        return ready and written and not applied.changes

    async def _credentials(
        self, ash: AshChat, found: Live, gifts: given.Given, known_ring: Mapping[str, str]
    ) -> Credentials:
        """Return the credentials that there are; only what is nowhere is made."""
        data = {}
        for name in secret_names(ash):
            # By name as well: a label that was taken off must not rotate a password.
            secret = found.get(("Secret", name)) or await self._api.get(
                "Secret", ash.namespace, name
            )
            if secret is not None:
                data[name] = decoded(secret)
        return complete(
            ash,
            data,
            smtp=gifts.smtp,
            smtp_ca=gifts.smtp_ca,
            google=gifts.google,
            google_ca=gifts.google_ca,
            known_ring=known_ring,
        )

    async def _grow(self, ash: AshChat, live: Live) -> list[str]:
        """Enlarge the volumes of the backends; return what was refused."""
        spec = ash.spec
        sizes = {
            "rabbitmq": spec.rabbitmq.managed.storage.size,
            "redis": spec.redis.managed.storage.size,
            "mongodb": spec.mongodb.managed.storage.size,
        }
        problems = []
        for component, size in sizes.items():
            name = f"data-{child(ash, component)}-0"
            claim = live.get(("PersistentVolumeClaim", name))
            if claim is None:
                continue
            if quantity(size) <= quantity(claim["spec"]["resources"]["requests"]["storage"]):
                continue
            body = {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {"name": name, "namespace": ash.namespace},
                "spec": {"resources": {"requests": {"storage": size}}},
            }
            try:
                await self._api.apply(body, MANAGER)
            except RefusedByApiServer as error:
                problems.append(f"the volume {name} cannot grow to {size}: {error}")
        return problems

    async def _components(self, ash: AshChat, live: Live) -> list[Component]:
        """Return how the components are; pods are asked why only where one is not ready."""
        names = platform.components(ash)
        result = [conditions.component(ash, name, live, ()) for name in names]
        if all(item.ready for item in result):
            return result
        labels = {k: v for k, v in selector(ash, "").items() if k != COMPONENT_LABEL}
        pods: dict[str, list[Object]] = {}
        for pod in await self._api.list("Pod", ash.namespace, labels):
            pods.setdefault(pod["metadata"]["labels"].get(COMPONENT_LABEL, ""), []).append(pod)
        return [conditions.component(ash, name, live, pods.get(name, ())) for name in names]

    async def _declare(
        self,
        ash: AshChat,
        credentials: Credentials,
        components: list[Component],
        wake: Callable[[], None],
    ) -> Results:
        up = frozenset(
            Backend(item.name) for item in components if item.name in {*Backend} and item.ready
        )
        declarer = self._declarers.setdefault((ash.namespace, ash.name), Declarer(wake))
        results = await declarer.results(
            ash.generation, targets(ash, self._context, credentials, up)
        )
        for change in declarer.changes():
            WRITES.inc()
            _log.info("%s/%s: %s", ash.namespace, ash.name, change)
        return results

    async def _tell(self, body: Object, status: Object) -> bool:
        """Write the status if it says something new; tell whether it is written."""
        former = body.get("status", {})
        if status == former:
            return True
        try:
            await self._api.replace({**body, "status": status}, MANAGER, status=True)
        except RefusedByApiServer as error:
            if error.status in {CONFLICT, NOT_FOUND}:
                return False  # It changed meanwhile: the next look sees to it.
            raise
        WRITES.inc()
        await asyncio.gather(
            *(publish(self._api, body, event) for event in transitions(former, status))
        )
        return True


def _tell_expiry(ash: AshChat, found_way: WayIn) -> None:
    if found_way.certificate is None:
        with suppress(KeyError):
            CERTIFICATE_EXPIRY.remove(ash.namespace, ash.name)
    else:
        end = found_way.certificate.not_after.timestamp()
        CERTIFICATE_EXPIRY.labels(ash.namespace, ash.name).set(end)
