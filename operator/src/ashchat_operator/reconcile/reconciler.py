"""One reconcile pass of one AshChat, from what exists to what is desired. Level-based.

    find → observe → credentials → render → apply → declare → judge → rotate → report

Between passes only the last answers of backends and servers are remembered (`memory`), so a pass
may be interrupted anywhere and the next one continues.
"""

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from ashchat_core.api.conditions import ConditionStatus, ConditionType, Finding
from ashchat_core.api.names import KIND, OPERATOR
from ashchat_core.api.reasons import Reason
from ashchat_operator import metrics
from ashchat_operator.backends.base import Backend
from ashchat_operator.credentials import candidates
from ashchat_operator.credentials.bundle import Credentials, complete
from ashchat_operator.credentials.rotation import metrics as rotation_metrics
from ashchat_operator.credentials.rotation.machine import RotationState
from ashchat_operator.kube import clock
from ashchat_operator.kube.api import Api
from ashchat_operator.kube.apply import Applied, apply, find
from ashchat_operator.kube.errors import CONFLICT, NOT_FOUND, ApiServerError
from ashchat_operator.kube.events import publish, transitions
from ashchat_operator.lifecycle import annotations, schema, switches
from ashchat_operator.lifecycle.cleanup import Cleanup
from ashchat_operator.lifecycle.deletion import deleting
from ashchat_operator.lifecycle.schema import Schema
from ashchat_operator.reconcile import judge, pod_credentials, rotate, volumes
from ashchat_operator.reconcile.declare import Results, targets
from ashchat_operator.reconcile.memory import Memories, Memory, Wake
from ashchat_operator.reconcile.observe import Observed, observe
from ashchat_operator.reconcile.passes import Pass
from ashchat_operator.render import platform
from ashchat_operator.render.exposure import ObservedExposure
from ashchat_operator.resource.model import AshChat
from ashchat_operator.resource.names import ClusterContext
from ashchat_operator.resource.references import referenced
from ashchat_operator.resource.types import Object
from ashchat_operator.status import conditions, exposure
from ashchat_operator.status.components import Component, key_ring_lost

FULL_PACE_PASSES: Final = 60
"""After this many unsettled passes in a row, passes become less frequent."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds until the next pass."""

    settled: float
    progressing: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the middle of a pass did, for its report."""

    applied: Applied
    problems: list[str]
    components: list[Component]
    results: Results
    fingerprints: dict[str, str]
    """Version → fingerprint of the keys for secrets at rest."""
    newly_proven: bool
    """Whether an external backend was found in order for the first time."""

    @property
    def ready(self) -> bool:
        """Whether every component is ready and everything could be applied."""
        return not self.problems and all(item.ready for item in self.components)


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
        self.memories = Memories()

    async def reconcile(self, namespace: str, name: str, wake: Wake) -> float:
        """Bring one AshChat to its desired state, as far as is possible now.

        Args:
            namespace: Its namespace.
            name: Its name.
            wake: Requests another pass, when something that takes long has ended.

        Returns:
            Seconds until the next pass.

        Raises:
            ApiServerError: Reading failed; nothing was decided on what was not read.
        """
        started = time.time()
        body = await self._api.get(KIND, namespace, name)
        if body is None or deleting(body):
            # Owned objects are deleted by garbage collection; the deletion policy decides on
            # the rest.
            await self.forget(namespace, name)
            done = body is None or await self._cleanup.done(body, clock.now())
            return self._pace.settled if done else self._pace.progressing
        again = await self._reconcile_existing(body, wake)
        metrics.reconciled(namespace, name, started)
        return again

    async def _reconcile_existing(self, body: Object, wake: Wake) -> float:
        """Reconcile a resource that exists; return the seconds until the next pass."""
        namespace, name = body["metadata"]["namespace"], body["metadata"]["name"]
        if self._schema.message:
            outdated = schema.outdated_status(body, self._schema.message, clock.timestamp())
            await self._write_status(body, outdated)
            return self._pace.progressing
        try:
            ash = AshChat.parse(body)
        except ValidationError as error:
            await self._report_invalid(body, error)
            return self._pace.settled
        memory = self.memories.of((namespace, name), wake)
        if memory.terminating_uid == ash.uid:
            # No deletion of a namespace is taken back, and each of its objects that is deleted
            # wakes this resource: another pass could only be refused once more.
            return self._pace.settled
        memory.referenced = frozenset(referenced(ash.spec))
        settled = await self._pass(ash, body, memory, wake)
        metrics.count_completed()
        return self._next_pass(memory, settled=settled)

    def _next_pass(self, memory: Memory, *, settled: bool) -> float:
        """Return the seconds until the next pass: short while progressing, longer if it lasts.

        A change of a child object wakes the resource in any case.
        """
        memory.unsettled_passes = 0 if settled else memory.unsettled_passes + 1
        slower = max(1.0, memory.unsettled_passes / FULL_PACE_PASSES)
        seconds = self._pace.settled
        # While backends are being asked there is nothing new to see: the last answer wakes.
        if not settled and not memory.declarer.asking:
            seconds = min(self._pace.progressing * slower, self._pace.settled)
        return min(seconds, memory.declarer.due_seconds())

    async def forget(self, namespace: str, name: str) -> None:
        """Stop the background work of a resource that was deleted, and forget it."""
        metrics.forget(namespace, name)
        rotation_metrics.forget(namespace, name)
        await self.memories.forget((namespace, name))

    async def close(self) -> None:
        """Stop all background work."""
        await self.memories.close()

    async def _pass(self, ash: AshChat, body: Object, memory: Memory, wake: Wake) -> bool:
        """Run the steps of a pass; return whether nothing is left to do."""
        start = await self._begin(ash, body, memory)
        if start.commands.paused:
            return await self._report_paused(start, wake)
        body = await self._cleanup.held(body)
        observed = await observe(self._api, start)
        credentials = complete(start.ash, observed.held, observed.inputs(start))
        applied = await self._apply(start, credentials, observed)
        if applied.stopped and not applied.problems:
            return False
        outcome = await self._check(start, credentials, observed, applied)
        rotations = await self._rotate(start, credentials, observed, outcome)
        accepted = await self._credentials_condition(start, observed)
        status = self._status(start, observed, outcome, rotations, accepted)
        _publish_expiry(start.ash, observed.exposure)
        written = await self._write_status(body, status)
        moving = (
            bool(applied.changes)
            or outcome.newly_proven
            or any(state.running for state in rotations.values())
            or (accepted is not None and accepted.reason in candidates.MOVING)
        )
        ready = status["conditions"][0]["status"] == ConditionStatus.TRUE
        if applied.reason is Reason.NAMESPACE_TERMINATING and written:
            memory.terminating_uid = ash.uid
            return True
        return ready and written and not moving

    async def _begin(self, ash: AshChat, body: Object, memory: Memory) -> Pass:
        """Find the objects; decide which backends are used and what annotations request."""
        found = await find(self._api, ash)
        switch = switches.decide(ash, found)
        names = platform.components(switch.ash)
        return Pass(
            ash=switch.ash,
            body=body,
            found=found,
            switch=switch,
            commands=annotations.read(ash, names),
            components=names,
            memory=memory,
            now=clock.now(),
        )

    async def _apply(self, start: Pass, credentials: Credentials, observed: Observed) -> Applied:
        """Render the objects and bring the cluster to them."""
        rendered = platform.render(start.ash, self._context, credentials, observed.exposure)
        objects = annotations.with_restart_tokens(rendered, start.commands)
        applied = await apply(self._api, start.ash, objects, start.found)
        if applied.stopped and not applied.problems:
            return applied
        metrics.WRITES.inc(len(applied.changes))
        for kind in start.memory.drift.corrected(objects, applied.changes):
            metrics.DRIFT.labels(kind).inc()
        for change in applied.changes:
            _log.info("%s/%s: %s", start.ash.namespace, start.ash.name, change)
        return applied

    async def _check(
        self, start: Pass, credentials: Credentials, observed: Observed, applied: Applied
    ) -> Outcome:
        """Determine the state of volumes, backends and components after applying."""
        ash = start.ash
        fingerprints = credentials.key_ring.fingerprints(observed.known_ring)
        lost = key_ring_lost(ash, credentials.key_ring.lost)
        problems = [
            *start.switch.held,
            *applied.problems,
            *await volumes.grow(self._api, ash, applied.live),
            *await volumes.mark_key_ring(self._api, ash, applied, fingerprints),
            *judge.problems(observed, lost),
        ]
        components = await judge.components(self._api, ash, start.components, applied.live)
        # Never declare credentials at a backend before a Secret stores them. Skip backends on the
        # first pass, so that slow ones do not delay creating this resource's objects.
        asks = not (applied.stopped or ash.is_new)
        results = await self._declare(start, credentials, components) if asks else {}
        return Outcome(
            applied=applied,
            problems=problems,
            components=judge.judge(
                ash, components, results, observed, lost=lost, live=applied.live
            ),
            results=results,
            # A key that is not stored yet is not reported.
            fingerprints=dict(observed.known_ring) if applied.stopped else fingerprints,
            newly_proven=_prove(start.memory, observed, results),
        )

    async def _declare(
        self, start: Pass, credentials: Credentials, components: list[Component]
    ) -> Results:
        """Declare queues, users and permissions at the backends that are up."""
        ash = start.ash
        up = frozenset(
            Backend(item.name) for item in components if item.name in {*Backend} and item.ready
        )
        declarer = start.memory.declarer
        results = await declarer.results(
            ash.generation, targets(ash, self._context, credentials, up)
        )
        for result in results.values():
            metrics.publish_dead_letters(ash.namespace, ash.name, result.dead_letters)
        for change in declarer.changes():
            metrics.WRITES.inc()
            _log.info("%s/%s: %s", ash.namespace, ash.name, change)
        return results

    async def _rotate(
        self, start: Pass, credentials: Credentials, observed: Observed, outcome: Outcome
    ) -> dict[str, RotationState]:
        """Advance the rotations."""
        of = rotate.RotationPass(
            ash=start.ash,
            context=self._context,
            credentials=credentials,
            results=outcome.results,
            applied=not outcome.applied.problems,
            ready=outcome.ready,
            now=start.now,
        )
        rotations = await rotate.step(self._api, of, observed.rotations)
        rotation_metrics.publish(start.ash.namespace, start.ash.name, rotations.values())
        return rotations

    async def _credentials_condition(self, start: Pass, observed: Observed) -> Finding | None:
        """Return the condition CredentialsAccepted; pods are asked until all use them."""
        decisions = observed.provided.decisions
        if decisions and all(item.accepted for item in decisions.values()):
            in_use = candidates.in_use(decisions)
            if in_use in conditions.reported(start.ash.status):
                return in_use
            names = await pod_credentials.lacking(
                self._api, start.ash, candidates.wanted(decisions), start.now
            )
            return candidates.condition(decisions, pod_credentials.waits_for(names))
        return candidates.condition(decisions)

    def _status(
        self,
        start: Pass,
        observed: Observed,
        outcome: Outcome,
        rotations: dict[str, RotationState],
        accepted: Finding | None,
    ) -> Object:
        """Return the status that reports the pass."""
        ash, applied = start.ash, outcome.applied
        report = conditions.Report(
            components=outcome.components,
            results=outcome.results,
            problems=outcome.problems,
            problem_reason=(Reason.SWITCH_NOT_CONFIRMED if start.switch.held else applied.reason),
            backends=start.switch.backends,
            url=exposure.url(ash, observed.exposure) or conditions.edge_url(ash, applied.live),
            version=self._version,
            key_ring=outcome.fingerprints,
            more={
                **start.commands.findings,
                **exposure.conditions(observed.exposure),
                ConditionType.SCHEMA_CURRENT: schema.finding(""),
                ConditionType.SECRETS_ROTATED: rotate.finding(rotations.values()),
                **({ConditionType.CREDENTIALS_ACCEPTED: accepted} if accepted else {}),
            },
        )
        status = conditions.status(ash, report, ash.status, clock.timestamp())
        return {**status, "rotation": rotate.entries(rotations), **start.commands.status()}

    async def _report_paused(self, start: Pass, wake: Wake) -> bool:
        """Stop the background work, and write nothing but the status."""
        await self.memories.rest((start.ash.namespace, start.ash.name), wake)
        components = await judge.components(self._api, start.ash, start.components, start.found)
        status = annotations.paused_status(
            start.ash.status, components, start.commands, clock.timestamp()
        )
        return await self._write_status(start.body, status)

    async def _report_invalid(self, body: Object, error: ValidationError) -> None:
        """Report a resource that does not match the operator's schema."""
        wrong = [(".".join(map(str, item["loc"])), item["msg"]) for item in error.errors()]
        where = body["metadata"]
        _log.error("%s/%s does not match the schema: %s", where["namespace"], where["name"], wrong)
        status = conditions.with_one(
            body, ConditionType.READY, conditions.invalid(wrong), clock.timestamp()
        )
        await self._write_status(body, status)

    async def _write_status(self, body: Object, status: Object) -> bool:
        """Write the status if it changed, and publish events; return whether it is written."""
        former = body.get("status", {})
        where = body["metadata"]
        metrics.publish_conditions(where["namespace"], where["name"], status)
        if status == former:
            return True
        try:
            await self._api.replace({**body, "status": status}, OPERATOR, status=True)
        except ApiServerError as error:
            if error.status in {CONFLICT, NOT_FOUND}:
                return False  # It changed in the meantime: the next pass reports.
            raise
        metrics.WRITES.inc()
        await asyncio.gather(
            *(publish(self._api, body, event) for event in transitions(former, status))
        )
        return True


def _prove(memory: Memory, observed: Observed, results: Results) -> bool:
    """Remember which external backends are in order; return whether that changed."""
    servers = observed.external.servers
    in_order = {backend for backend, result in results.items() if result.ready}
    new = {server for backend, server in servers.items() if backend in in_order}
    still = {server for server in memory.proven if server in servers.values()}
    before, memory.proven = memory.proven, frozenset(still | new)
    return memory.proven != before


def _publish_expiry(ash: AshChat, observed: ObservedExposure) -> None:
    if observed.certificate is None:
        labels = {"namespace": ash.namespace, "name": ash.name}
        metrics.CERTIFICATE_EXPIRY.remove_by_labels(labels)
    else:
        end = observed.certificate.not_after.timestamp()
        metrics.CERTIFICATE_EXPIRY.labels(ash.namespace, ash.name).set(end)
