"""A rotation that is interrupted at any point ends in the same state, without a lockout."""

import asyncio
import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ashchat_core.api.reasons import Reason
from ashchat_core.at_rest import revision
from ashchat_core.tokens import key_set_revision
from ashchat_core.topology import REDIS_GRANTS, Service
from ashchat_operator.backends.base import Backend, BackendResult
from ashchat_operator.backends.redis.desired import digest, parse_line
from ashchat_operator.credentials.bundle import (
    Credentials,
    Inputs,
    complete,
    key_ring_secret,
    service_secret,
    signing_keys_secret,
)
from ashchat_operator.credentials.rotation import key_ring, signing_keys, users
from ashchat_operator.credentials.rotation.key_ring import RotatingKeyRing
from ashchat_operator.credentials.rotation.machine import (
    ORDER,
    Phase,
    RotatingCredential,
    RotationState,
)
from ashchat_operator.credentials.rotation.signing_keys import RotatingSigningKeys
from ashchat_operator.credentials.rotation.users import RotatingUsers
from ashchat_operator.reconcile import rotate
from ashchat_operator.reconcile.rotate import RotationPass
from ashchat_operator.render import platform
from ashchat_operator.render.secrets import ACLFILE_KEY
from ashchat_operator.resource.names import child
from operator_rendering import CONTEXT, resource

ASH = resource("minimal")
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
TOKEN_LIFE = timedelta(minutes=ASH.spec.auth.access_token_minutes)
RING, SIGNING = key_ring_secret(ASH), signing_keys_secret(ASH)
PASSES_MAX = 400

Data = dict[str, bytes]
Wanted = Mapping[str, Mapping[str, str]]


@dataclass
class Pod:
    """A service's pod, with the contents of Secrets that it last read."""

    service: Service
    login: tuple[str, str] = ("", "")
    keys: Data = field(default_factory=dict)
    ring: Data = field(default_factory=dict)
    emptied: str = ""


class World:
    """Secrets, backends and pods, simulated with the behavior of the real ones."""

    def __init__(self) -> None:
        self.secrets: dict[str, Data] = {}
        self.status: dict[str, Any] = {}
        self.accepted: dict[str, str] = {}
        self.annotations: dict[str, str] = {}
        self.now = BEGAN
        self.pods = [Pod(service) for service in Service]
        self.sealed_under: set[str] = set()
        self.signed: dict[str, datetime] = {}
        """When the last token of each key expires, by key id."""

    def credentials(self) -> Credentials:
        return complete(
            ASH,
            self.secrets,
            Inputs(known_ring=self.status.get("keyRing", {}), rotations=rotate.states(self.status)),
        )

    def store(self, credentials: Credentials, until: int | None) -> bool:
        """Write the first `until` Secrets, or all; return whether all were written."""
        items = [
            item
            for item in platform.render(ASH, CONTEXT, credentials)
            if item["kind"] == "Secret" and item["metadata"]["name"] in WITH_CREDENTIALS
        ]
        for item in items[:until]:
            self.secrets[item["metadata"]["name"]] = {
                key: base64.b64decode(value) for key, value in item["data"].items()
            }
        return until is None or until >= len(items)

    def declare(self, credentials: Credentials) -> None:
        for login in (*credentials.logins.values(), *credentials.additional):
            self.accepted[login.username] = login.password
        for name in credentials.retired:
            self.accepted.pop(name, None)

    def read(self, pod: Pod) -> None:
        """Let the pod read its Secrets, switch to the credentials in them, and use them."""
        own = self.secrets.get(service_secret(ASH, pod.service), {})
        pod.login = (own["username"].decode(), own["password"].decode())
        pod.keys, pod.ring = self.secrets.get(SIGNING, {}), self.secrets.get(RING, {})
        if pod.service is Service.AUTH:
            self.signed[pod.keys["active"].decode()] = self.now + TOKEN_LIFE
            self.sealed_under.add(pod.ring["active"].decode())
            self.sealed_under -= set(pod.ring.get("retire", b"").decode().split())
            pod.emptied = _ring_revision(pod.ring)

    def reports(self, pod: Pod) -> dict[str, str]:
        return {
            users.NAME: pod.login[0],
            "jwks": key_set_revision(_kids(pod.keys)),
            "signing-keys": pod.keys.get("active", b"").decode(),
            "key-ring": _ring_revision(pod.ring),
            "at-rest": pod.emptied,
        }

    async def lacking(self, wanted: Wanted) -> str:
        behind = [
            pod.service.value
            for pod in self.pods
            if any(
                self.reports(pod)[name] != value
                for name, value in wanted.get(pod.service.value, {}).items()
            )
        ]
        return ", ".join(behind)

    def kinds(self, credentials: Credentials, *, declared: bool) -> tuple[RotatingCredential, ...]:
        async def accepted() -> str:
            return ", ".join(x.username for x in credentials.former if x.username in self.accepted)

        results = (
            {x: BackendResult(ready=True, reason=Reason.DECLARED, message="") for x in Backend}
            if declared
            else {}
        )
        return (
            RotatingUsers(
                logins=credentials.logins,
                additional=credentials.additional,
                results=results,
                expected={x.value: {users.NAME: credentials.logins[x].username} for x in Service},
                lacking=self.lacking,
                accepted=accepted,
            ),
            RotatingSigningKeys(
                ring=credentials.signing_keys,
                token_life=TOKEN_LIFE,
                now=self.now,
                lacking=self.lacking,
            ),
            RotatingKeyRing(ring=credentials.key_ring, lacking=self.lacking),
        )

    def reconcile(
        self, until: int | None = None, *, declares: bool = True, status_written: bool = True
    ) -> None:
        """Run one reconcile pass, which ends early after `until` Secrets."""
        credentials = self.credentials()
        if not self.store(credentials, until):
            return
        if declares:
            self.declare(credentials)
        rotation_pass = RotationPass(
            ash=ASH.model_copy(update={"annotations": self.annotations, "created": BEGAN}),
            context=CONTEXT,
            credentials=credentials,
            results={},
            applied=True,
            ready=True,
            now=self.now,
        )
        before = rotate.states(self.status)

        async def turns() -> list[RotationState]:
            kinds = self.kinds(credentials, declared=declares)
            return [
                await rotate.advance_one(rotation_pass, kind, before[kind.name]) for kind in kinds
            ]

        after = asyncio.run(turns())
        if status_written:
            self.status = {
                "rotation": [state.entry() for state in after],
                "keyRing": credentials.key_ring.fingerprints(self.status.get("keyRing", {})),
            }

    def phases(self) -> dict[str, Phase]:
        return {name: state.phase for name, state in rotate.states(self.status).items()}

    def wrong(self) -> list[str]:
        """Return descriptions of all clients that are locked out now."""
        found = [
            f"{pod.service} logs in as {pod.login[0]}, which is refused"
            for pod in self.pods
            if pod.login[0] and self.accepted.get(pod.login[0]) != pod.login[1]
        ]
        found += self.locked_out_by_a_restart()
        auth = next(pod for pod in self.pods if pod.service is Service.AUTH)
        found += [f"{x} sealed and does not open" for x in self.sealed_under - _versions(auth.ring)]
        alive = {kid for kid, ends in self.signed.items() if ends > self.now}
        for pod in self.pods:
            if pod.service.value in signing_keys.VERIFY:
                found += [f"{pod.service} refuses a token of {x}" for x in alive - _kids(pod.keys)]
        return found

    def locked_out_by_a_restart(self) -> list[str]:
        """Return the clients that a restarted Redis, which has only its aclfile, would reject."""
        found = []
        for grant in REDIS_GRANTS:
            backend = Backend.CACHE if grant.cache else Backend.REDIS
            lines = self.secrets[child(ASH, f"{backend}-acl")][ACLFILE_KEY].decode().splitlines()
            known = {user.name: user.passwords for user in map(parse_line, lines)}
            name, password = next(x.login for x in self.pods if x.service is grant.service)
            if name and digest(password) not in known.get(name, ()):
                found.append(f"{grant.service} as {name} is not in the aclfile of {backend}")
        return found


def _kids(keys: Data) -> set[str]:
    return {name.removesuffix(".pem") for name in keys if name.endswith(".pem")}


def _versions(ring_files: Data) -> set[str]:
    return {name.removesuffix(".key") for name in ring_files if name.endswith(".key")}


def _ring_revision(files: Data) -> str:
    return revision({name: raw.decode() for name, raw in files.items()})


WITH_CREDENTIALS = frozenset(
    item["metadata"]["name"]
    for item in platform.render(ASH, CONTEXT, complete(ASH, {}))
    if item["kind"] == "Secret"
)


def settled() -> World:
    world = World()
    for _ in range(2):
        world.reconcile()
        for pod in world.pods:
            world.read(pod)
    assert set(world.phases().values()) == {Phase.IDLE}
    return world


def finish(world: World) -> None:
    """Run passes at intervals until all rotations are complete."""
    for _ in range(PASSES_MAX):
        world.now += timedelta(seconds=30)
        world.reconcile()
        for pod in world.pods:
            world.read(pod)
        assert not world.wrong()
        if set(world.phases().values()) == {Phase.IDLE}:
            return
    raise AssertionError(f"not complete: {world.status['rotation']}")


def actives(world: World) -> dict[str, str]:
    return {name: state.active for name, state in rotate.states(world.status).items()}


def test_a_rotation_passes_through_all_phases_and_leaves_one_of_each() -> None:
    world = settled()
    before = actives(world)
    former = dict(world.accepted)
    world.annotations["ashchat.dev/rotate"] = "now"
    seen: dict[str, list[Phase]] = {}
    for _ in range(PASSES_MAX):
        world.now += timedelta(seconds=30)
        world.reconcile()
        for name, phase in world.phases().items():
            if not seen.get(name) or seen[name][-1] is not phase:
                seen.setdefault(name, []).append(phase)
        for pod in world.pods:
            world.read(pod)
        if len(seen["signing-keys"]) > 1 and set(world.phases().values()) == {Phase.IDLE}:
            break
    assert seen == {kind: [*ORDER[1:], Phase.IDLE] for kind in rotate.KINDS}
    after = actives(world)
    assert all(after[name] != before[name] for name in rotate.KINDS)
    assert before["users"] == "a"
    assert after["users"] == "b"
    assert not set(former) & set(world.accepted), "a former login still works"
    assert _kids(world.secrets[SIGNING]) == {after["signing-keys"]}
    assert _versions(world.secrets[RING]) == {"2"}
    assert "1.hash" in world.secrets[RING]
    assert "retire" not in world.secrets[RING]
    assert set(world.status["keyRing"]) == {"2"}, "the retired key is not lost"


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("reconcile"), st.none(), st.booleans(), st.booleans()),
        st.tuples(st.just("reconcile"), st.integers(0, 14), st.booleans(), st.booleans()),
        st.tuples(st.just("read"), st.sampled_from(range(len(Service)))),
        st.tuples(st.just("time"), st.integers(1, 1200)),
    ),
    max_size=60,
)


@settings(max_examples=40)
@given(steps=STEPS)
def test_a_rotation_interrupted_anywhere_completes_without_lockout(
    steps: list[tuple[Any, ...]],
) -> None:
    """Each pass may end after any write, and any write of the status may fail."""
    world = settled()
    before = actives(world)
    world.annotations["ashchat.dev/rotate"] = "now"
    for step in steps:
        match step:
            case ("reconcile", until, declares, status_written):
                world.reconcile(until, declares=declares, status_written=status_written)
            case ("read", index):
                world.read(world.pods[index])
            case ("time", seconds):
                world.now += timedelta(seconds=seconds)
            case _:
                raise AssertionError(step)
        assert not world.wrong()
    finish(world)
    if set(actives(world).items()) & set(before.items()):
        # The rotation had not started: the annotation is still handled.
        world.reconcile()
        finish(world)
    assert all(actives(world)[name] != before[name] for name in rotate.KINDS)
    assert {name.rpartition("-")[2] for name in world.accepted} == {"b"}
    assert _kids(world.secrets[SIGNING]) == {actives(world)["signing-keys"]}
    assert len(_versions(world.secrets[RING])) == 1


@pytest.mark.parametrize("passes", range(1, 14))
def test_a_lost_status_causes_no_lockout_and_leaves_one_of_each(passes: int) -> None:
    world = settled()
    world.annotations["ashchat.dev/rotate"] = "now"
    for _ in range(passes):
        world.now += timedelta(seconds=200)
        world.reconcile()
        for pod in world.pods:
            world.read(pod)
    world.status = {}
    world.reconcile()
    finish(world)
    assert len(world.accepted) == len(Service)
    assert len(_kids(world.secrets[SIGNING])) == 1
    assert len(_versions(world.secrets[RING])) == 1


def test_a_pod_that_does_not_switch_delays_the_rotation_and_is_named() -> None:
    world = settled()
    world.annotations["ashchat.dev/rotate"] = "now"
    for _ in range(30):
        world.now += timedelta(minutes=1)
        world.reconcile()
        for pod in world.pods:
            if pod.service is not Service.CHAT:
                world.read(pod)
        assert not world.wrong()
    states = rotate.states(world.status)
    assert states[users.NAME].phase is Phase.PROVING
    assert "chat" in states[users.NAME].message
    assert states[signing_keys.NAME].phase is Phase.ADDING
    assert states[key_ring.NAME].phase is Phase.IDLE, "chat has no part in it"
    finish(world)


def test_each_new_token_starts_one_rotation() -> None:
    world = settled()
    world.annotations["ashchat.dev/rotate-users"] = "one"
    world.reconcile()
    finish(world)
    once = actives(world)
    for _ in range(5):
        world.reconcile()
    assert actives(world) == once
    assert once["users"] == "b"
    world.annotations["ashchat.dev/rotate-users"] = "two"
    world.reconcile()
    finish(world)
    assert actives(world)["users"] == "a"
    assert actives(world)["key-ring"] == once["key-ring"], "only the one kind was asked for"
