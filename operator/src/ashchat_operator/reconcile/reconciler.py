"""One look at one AshChat, from what is there to what is wanted. Level-based.

    read → credentials → render → apply → backends → status

Nothing is remembered from look to look but the backends' last answers (`declare`), so a
look may be interrupted anywhere and the next one goes on.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from ashchat_core.api.conditions import ConditionStatus, ConditionType, Finding
from ashchat_core.api.names import KIND, OPERATOR, Annotation, Label
from ashchat_core.api.reasons import Reason
from ashchat_core.topology import Service
from ashchat_operator import metrics
from ashchat_operator.backends.base import Backend
from ashchat_operator.backends.external import ExternalServer
from ashchat_operator.credentials import candidates
from ashchat_operator.credentials.bundle import (
    Credentials,
    ProvidedSecrets,
    complete,
    secret_names,
    service_secret,
)
from ashchat_operator.credentials.candidates import Decision, ProvidedKind
from ashchat_operator.credentials.rotation import metrics as rotation_metrics
from ashchat_operator.credentials.rotation.machine import RotationState
from ashchat_operator.credentials.trials import Trials
from ashchat_operator.kube import adoption, clock
from ashchat_operator.kube.api import (
    CONFLICT,
    NOT_FOUND,
    Api,
    ApiServerError,
)
from ashchat_operator.kube.apply import Applied, apply, find
from ashchat_operator.kube.drift import Drift
from ashchat_operator.kube.events import publish, transitions
from ashchat_operator.kube.secret_data import decoded
from ashchat_operator.lifecycle import annotations, schema, switches
from ashchat_operator.lifecycle.cleanup import Cleanup
from ashchat_operator.lifecycle.deletion import deleting
from ashchat_operator.lifecycle.schema import Schema
from ashchat_operator.reconcile import exposure as exposure_module
from ashchat_operator.reconcile import external_secrets, pod_credentials, provided, rotate
from ashchat_operator.reconcile.declare import Declarer, Results, Turns, targets
from ashchat_operator.render import platform
from ashchat_operator.render.exposure import ObservedExposure
from ashchat_operator.resource.model import AshChat
from ashchat_operator.resource.names import ClusterContext, child, selector
from ashchat_operator.resource.quantity import quantity
from ashchat_operator.resource.references import References
from ashchat_operator.resource.types import Data, Live, Object, ResourceKey
from ashchat_operator.status import components as components_status
from ashchat_operator.status import conditions, exposure
from ashchat_operator.status.components import Component

SOON_LOOKS: Final = 60
"""So many looks go by at full pace before they become rarer."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds until the next look."""

    settled: float
    progressing: float


@dataclass(frozen=True, slots=True)
class _Inputs:
    """All that one look decides on, beside the resource itself."""

    held: Mapping[str, Data]
    """What the Secrets with credentials hold now, by name."""
    provided: ProvidedSecrets
    """What people gave, as far as it is used."""
    decisions: Mapping[ProvidedKind, Decision]
    """Why it is used or not."""
    outside: external_secrets.ExternalSecrets
    """The Secrets of external backends."""
    known_ring: Mapping[str, str]
    """The fingerprints of the keys that data was sealed with, by version."""
    rotations: Mapping[str, RotationState]
    """How far each rotation is."""
    exposure: ObservedExposure
    """What was observed of the exposure: the certificate, the Gateway API."""


class Reconciler:
    """Reconciles AshChats; `kube.workers` runs one pass per resource at a time."""

    def __init__(
        self, api: Api, context: ClusterContext, served: Schema, *, version: str, pace: Pace
    ) -> None:
        self._api = api
        self._schema = served
        self._cleanup = Cleanup(api)
        self._context = context
        self._version = version
        self._pace = pace
        self._declarers: dict[ResourceKey, Declarer] = {}
        self._turns = Turns()
        self._trials: dict[ResourceKey, Trials] = {}
        self.references = References()
        self._unsettled: dict[ResourceKey, int] = {}
        self._drift = Drift()
        self._proven: dict[ResourceKey, frozenset[ExternalServer]] = {}

    async def look(self, namespace: str, name: str, wake: Callable[[], None]) -> float:
        """Bring one AshChat to what is wanted, as far as it goes now.

        Args:
            namespace: Its namespace.
            name: Its name.
            wake: Asks for another look, when something that takes long has ended.

        Returns:
            Seconds until the next look.

        Raises:
            ApiServerError: Reading failed; nothing was decided on what was not read.
        """
        started = time.time()
        body = await self._api.get(KIND, namespace, name)
        if body is None or deleting(body):
            # Its objects go with it by their owner references; the rest is its policy's.
            await self.forget(namespace, name)
            done = body is None or await self._cleanup.done(body, clock.now())
            return self._pace.settled if done else self._pace.progressing
        again = await self._look_at(body, wake)
        metrics.reconciled(namespace, name, started)
        return again

    async def _look_at(self, body: Object, wake: Callable[[], None]) -> float:
        """Reconcile a resource that exists; return the seconds until the next pass."""
        namespace, name = body["metadata"]["namespace"], body["metadata"]["name"]
        if self._schema.says:
            await self._tell(
                body, schema.outdated_status(body, self._schema.says, clock.timestamp())
            )
            return self._pace.progressing
        try:
            ash = AshChat.parse(body)
        except ValidationError as error:
            wrong = [(".".join(map(str, x["loc"])), x["msg"]) for x in error.errors()]
            _log.error("%s/%s is not what the schema promises: %s", namespace, name, wrong)
            invalid = conditions.invalid(wrong)
            await self._tell(
                body, conditions.with_one(body, ConditionType.READY, invalid, clock.timestamp())
            )
            return self._pace.settled
        self.references.note(ash)
        settled = await self._reconcile(ash, body, wake)
        metrics.count_completed()
        again = self._again(namespace, name, settled=settled)
        declarer = self._declarers.get((namespace, name))  # a pause ends it
        if declarer is None:
            return again
        # What goes on at the backends wakes when it ends: until then nothing new is to be seen.
        again = self._pace.settled if declarer.asking else again
        return min(again, declarer.due_seconds())

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
        self._drift.forget((namespace, name))
        metrics.forget(namespace, name)
        rotation_metrics.forget(namespace, name)
        self.references.forget(namespace, name)
        self._proven.pop((namespace, name), None)
        await self._rest((namespace, name))

    async def close(self) -> None:
        """Stop all that goes on, at whatever resource."""
        for key in {*self._declarers, *self._trials}:
            await self._rest(key)

    async def _rest(self, key: ResourceKey) -> None:
        """Stop what goes on in the background for a resource."""
        for running in (self._declarers.pop(key, None), self._trials.pop(key, None)):
            if running is not None:
                await running.close()

    async def _reconcile(self, ash: AshChat, body: Object, wake: Callable[[], None]) -> bool:
        """Read, render, apply, declare, judge, rotate, tell; return whether it is settled."""
        found = await find(self._api, ash)
        switch = switches.decide(ash, body, found)
        ash = switch.ash
        pulled = annotations.read(body, platform.components(ash))
        if pulled.paused:
            return await self._pause(ash, body, found, pulled)
        body = await self._cleanup.held(body)
        inputs = await self._read(ash, body, found, wake)
        credentials = self._credentials(ash, inputs)
        rendered = platform.render(ash, self._context, credentials, inputs.exposure)
        objects = annotations.with_restart_tokens(rendered, pulled)
        applied = await apply(self._api, ash, objects, found)
        if applied.stopped and not applied.problems:
            return False
        self._count(ash, objects, applied)
        fingerprints = credentials.key_ring.fingerprints(inputs.known_ring)
        problems = [
            *switch.held,
            *applied.problems,
            *await self._grow(ash, applied.live),
            *await self._mark(ash, applied, fingerprints),
        ]
        components = await self._components(ash, applied.live)
        # Nothing at the backends is to have what no Secret holds. And a new AshChat is not kept
        # from being written by the backends of another: they are asked from its second look on.
        asks = not (applied.stopped or _is_new(body))
        results = await self._declare(ash, credentials, components, wake) if asks else {}
        proven = self._prove(ash, inputs.outside, results)
        lost = components_status.key_ring_lost(ash, credentials.key_ring.lost)
        problems += _problems(inputs, lost)
        components = _judged(ash, components, results, inputs, lost=lost, live=applied.live)
        look = rotate.RotationPass(
            ash=ash,
            body=body,
            context=self._context,
            credentials=credentials,
            results=results,
            applied=not applied.problems,
            ready=not problems and all(item.ready for item in components),
            now=clock.now(),
        )
        rotations = await rotate.step(self._api, look, inputs.rotations)
        rotation_metrics.publish(ash.namespace, ash.name, rotations.values())
        said = await self._in_use(ash, inputs.decisions, body.get("status", {}))
        report = conditions.Report(
            components=components,
            results=results,
            problems=problems,
            problem_reason=Reason.SWITCH_NOT_CONFIRMED if switch.held else applied.reason,
            backends=switch.backends,
            url=exposure.url(ash, inputs.exposure) or conditions.edge_url(ash, applied.live),
            version=self._version,
            key_ring=inputs.known_ring if applied.stopped else fingerprints,
            more={
                **pulled.findings,
                **exposure.conditions(inputs.exposure),
                ConditionType.SCHEMA_CURRENT: schema.finding(""),
                ConditionType.SECRETS_ROTATED: rotate.finding(rotations.values()),
                **({ConditionType.CREDENTIALS_ACCEPTED: said} if said is not None else {}),
            },
        )
        status = conditions.status(ash, report, body.get("status", {}), clock.timestamp())
        status["rotation"] = rotate.entries(rotations)
        status.update(pulled.status())
        _tell_expiry(ash, inputs.exposure)
        written = await self._tell(body, status)
        ready = status["conditions"][0]["status"] == ConditionStatus.TRUE
        moves = (
            bool(applied.changes)
            or proven
            or any(state.running for state in rotations.values())
            or (said is not None and said.reason in candidates.MOVING)
        )
        # In a namespace that goes, no look makes anything better.
        terminating = applied.reason is Reason.NAMESPACE_TERMINATING
        return terminating or (ready and written and not moves)

    def _count(self, ash: AshChat, objects: list[Object], applied: Applied) -> None:
        """Count and log what was written, and what of it was drift."""
        metrics.WRITES.inc(len(applied.changes))
        for kind in self._drift.corrected((ash.namespace, ash.name), objects, applied.changes):
            metrics.DRIFT.labels(kind).inc()
        for change in applied.changes:
            _log.info("%s/%s: %s", ash.namespace, ash.name, change)

    async def _pause(
        self, ash: AshChat, body: Object, found: Live, pulled: annotations.Commands
    ) -> bool:
        """Write nothing but the status."""
        await self._rest((ash.namespace, ash.name))
        components = await self._components(ash, found)
        status = annotations.paused_status(
            body.get("status", {}), components, pulled, clock.timestamp()
        )
        return await self._tell(body, status)

    async def _known_ring(self, ash: AshChat, body: Object, found: Live) -> dict[str, str]:
        """Return the fingerprints of the keys that data was sealed with, by version.

        The status tells them; that of a new resource does not yet, so the data's claim does,
        also one whose labels were lost.
        """
        if not _is_new(body):
            return dict(body["status"].get("keyRing", {}))
        kind, name = adoption.data_claim(ash)
        claim = found.get((kind, name)) or await self._api.get(kind, ash.namespace, name)
        return adoption.ring_of(claim)

    async def _read(
        self, ash: AshChat, body: Object, found: Live, wake: Callable[[], None]
    ) -> _Inputs:
        """Read what the resource refers to; what people gave is tried."""
        held = await self._held(ash, found)
        offered = await provided.read(self._api, ash)
        decisions = await self._decide(ash, offered, held, wake)
        return _Inputs(
            held=held,
            provided=candidates.chosen(offered, decisions),
            decisions=decisions,
            outside=await external_secrets.read(self._api, ash),
            known_ring=await self._known_ring(ash, body, found),
            rotations=rotate.states(body.get("status", {})),
            exposure=await exposure_module.read(self._api, ash, found, clock.now()),
        )

    async def _held(self, ash: AshChat, found: Live) -> dict[str, Data]:
        """Return what the Secrets with credentials hold; not somebody else's of their names."""
        names = secret_names(ash)
        there = {name: found.get(("Secret", name)) for name in names}
        # By name as well: a label that was taken off must not rotate a password.
        lacking = [name for name in names if there[name] is None]
        there |= await self._api.get_each("Secret", ash.namespace, lacking)
        return {
            name: decoded(secret)
            for name, secret in there.items()
            if secret is not None and adoption.is_ours(ash, secret)
        }

    def _credentials(self, ash: AshChat, inputs: _Inputs) -> Credentials:
        """Return the credentials that there are; only what is nowhere is made."""
        provided = inputs.provided
        return complete(
            ash,
            inputs.held,
            smtp=provided.smtp,
            smtp_ca=provided.smtp_ca,
            google=provided.google,
            google_ca=provided.google_ca,
            known_ring=inputs.known_ring,
            rotations=inputs.rotations,
            servers=inputs.outside.servers,
            proven=frozenset(
                backend
                for backend, server in inputs.outside.servers.items()
                if server in self._proven.get((ash.namespace, ash.name), ())
            ),
        )

    async def _decide(
        self,
        ash: AshChat,
        provided: ProvidedSecrets,
        held: Mapping[str, Data],
        wake: Callable[[], None],
    ) -> dict[ProvidedKind, Decision]:
        """Return which of the credentials that people give are used; try what is new."""
        wanted = candidates.candidates(ash, provided)
        if not wanted:
            return {}
        holds = {
            kind: candidates.held(kind, held.get(service_secret(ash, Service(x.component)), {}))
            for kind, x in wanted.items()
        }
        trials = self._trials.setdefault((ash.namespace, ash.name), Trials(wake))
        verdicts = await trials.verdicts(
            {kind: x for kind, x in wanted.items() if candidates.untried(x, holds[kind])}
        )
        return {
            kind: candidates.decide(item, holds[kind], verdicts.get(kind))
            for kind, item in wanted.items()
        }

    async def _in_use(
        self, ash: AshChat, decisions: Mapping[ProvidedKind, Decision], former: Object
    ) -> Finding | None:
        """Return how what people gave stands; pods are asked until all use it, then no more."""
        if all(item.accepted for item in decisions.values()) and decisions:
            said = candidates.in_use(decisions)
            if said in conditions.reported(former):
                return said
            names = await pod_credentials.lacking(
                self._api, ash, candidates.wanted(decisions), clock.now()
            )
            return candidates.condition(decisions, pod_credentials.waits_for(names))
        return candidates.condition(decisions)

    def _prove(
        self, ash: AshChat, outside: external_secrets.ExternalSecrets, results: Results
    ) -> bool:
        """Note which external backends are in order; tell whether there is one more to hand out."""
        key = (ash.namespace, ash.name)
        before = self._proven.get(key, frozenset())
        in_order = {backend for backend, result in results.items() if result.ready}
        new = {server for backend, server in outside.servers.items() if backend in in_order}
        now = frozenset({x for x in before if x in outside.servers.values()} | new)
        self._proven[key] = now
        return now != before

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
                await self._api.apply(body, OPERATOR)
            except ApiServerError as error:
                problems.append(f"the volume {name} cannot grow to {size}: {error}")
        return problems

    async def _mark(
        self, ash: AshChat, applied: Applied, fingerprints: Mapping[str, str]
    ) -> list[str]:
        """Keep the fingerprints of the key ring where the data is; return what was refused."""
        kind, name = adoption.data_claim(ash)
        claim = applied.live.get((kind, name))
        if claim is None or applied.stopped or adoption.ring_of(claim) == fingerprints:
            return []
        text = adoption.ring_annotation(fingerprints)
        try:
            await self._api.patch_metadata(
                {**claim, "kind": kind},
                {"annotations": {Annotation.KEY_RING.value: text}},
                OPERATOR,
            )
        except ApiServerError as error:
            return [f"the key ring's fingerprints cannot be kept at {name}: {error}"]
        metrics.WRITES.inc()
        return []

    async def _components(self, ash: AshChat, live: Live) -> list[Component]:
        """Return how the components are; pods are asked why only where one is not ready."""
        names = platform.components(ash)
        result = [components_status.component(ash, name, live, ()) for name in names]
        if all(item.ready for item in result):
            return result
        labels = {k: v for k, v in selector(ash, "").items() if k != Label.COMPONENT}
        pods: dict[str, list[Object]] = {}
        for pod in await self._api.list("Pod", ash.namespace, labels):
            pods.setdefault(pod["metadata"]["labels"].get(Label.COMPONENT, ""), []).append(pod)
        return [components_status.component(ash, name, live, pods.get(name, ())) for name in names]

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
        declarer = self._declarers.setdefault(
            (ash.namespace, ash.name), Declarer(wake, self._turns)
        )
        results = await declarer.results(
            ash.generation, targets(ash, self._context, credentials, up)
        )
        for result in results.values():
            metrics.publish_dead_letters(ash.namespace, ash.name, result.dead_letters)
        for change in declarer.changes():
            metrics.WRITES.inc()
            _log.info("%s/%s: %s", ash.namespace, ash.name, change)
        return results

    async def _tell(self, body: Object, status: Object) -> bool:
        """Write the status if it says something new; tell whether it is written."""
        former = body.get("status", {})
        metrics.publish_conditions(body["metadata"]["namespace"], body["metadata"]["name"], status)
        if status == former:
            return True
        try:
            await self._api.replace({**body, "status": status}, OPERATOR, status=True)
        except ApiServerError as error:
            if error.status in {CONFLICT, NOT_FOUND}:
                return False  # It changed meanwhile: the next look sees to it.
            raise
        metrics.WRITES.inc()
        await asyncio.gather(
            *(publish(self._api, body, event) for event in transitions(former, status))
        )
        return True


def _is_new(body: Object) -> bool:
    """Tell whether no look at a resource has told its status yet."""
    return "observedGeneration" not in body.get("status", {})


def _problems(inputs: _Inputs, lost: str) -> list[str]:
    """Return what a person has to do about Secrets: those given, those outside, the key ring."""
    return [
        *(item.message for item in inputs.decisions.values() if item.blocking),
        *(says for _, says in inputs.outside.wrong.values()),
        *([lost] if lost else []),
    ]


def _judged(
    ash: AshChat,
    components: list[Component],
    results: Results,
    inputs: _Inputs,
    *,
    lost: str,
    live: Live,
) -> list[Component]:
    """Return the components with all that keeps them from being ready beside their pods."""
    found = [components_status.with_topology(item, results) for item in components]
    for decision in (item for item in inputs.decisions.values() if item.blocking):
        found = [components_status.without_credentials(item, decision) for item in found]
    found = external_secrets.with_wrong(found, inputs.outside)
    if lost:
        found = [components_status.with_lost_key_ring(item, lost) for item in found]
    return exposure.components(ash, found, live, inputs.exposure)


def _tell_expiry(ash: AshChat, found_way: ObservedExposure) -> None:
    if found_way.certificate is None:
        labels = {"namespace": ash.namespace, "name": ash.name}
        metrics.CERTIFICATE_EXPIRY.remove_by_labels(labels)
    else:
        end = found_way.certificate.not_after.timestamp()
        metrics.CERTIFICATE_EXPIRY.labels(ash.namespace, ash.name).set(end)
