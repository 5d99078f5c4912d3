"""How kopf is configured: only events of AshChats, and a timeout for every request."""

import asyncio
from typing import Any

import kopf
import pytest

from ashchat_core.api.names import GROUP, PLURAL, VERSION
from ashchat_operator import main
from ashchat_operator.settings import Settings


class Kopf:
    """Replaces kopf, and records its arguments."""

    def __init__(self) -> None:
        self.arguments: dict[str, Any] = {}
        self.fails: Exception | None = None

    async def spawn(self, **arguments: Any) -> list[asyncio.Task[None]]:
        self.arguments = arguments
        return []

    async def run(self, _tasks: object, *, ignored: object) -> None:
        assert ignored
        if self.fails is not None:
            raise self.fails


class Followers:
    """Replaces the workers and the reconciler, and records the calls that events cause."""

    def __init__(self) -> None:
        self.kept: list[tuple[str, str]] = []
        self.looks_ended: list[tuple[str, str]] = []
        self.forgotten: list[tuple[str, str]] = []

    def track(self, namespace: str, name: str) -> None:
        self.kept.append((namespace, name))

    def forget(self, namespace: str, name: str) -> None:
        self.looks_ended.append((namespace, name))

    async def forget_for_good(self, namespace: str, name: str) -> None:
        self.forgotten.append((namespace, name))


class Reconciler:
    def __init__(self, followers: Followers) -> None:
        self.forget = followers.forget_for_good


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Kopf:
    result = Kopf()
    monkeypatch.setattr(kopf, "spawn_tasks", result.spawn)
    monkeypatch.setattr(kopf, "run_tasks", result.run)
    monkeypatch.setattr(main, "_heed", lambda _: None)
    return result


@pytest.fixture
def followers() -> Followers:
    return Followers()


async def begin(followers: Followers, **settings: Any) -> None:
    await main._kopf(
        Settings(**settings),
        followers,  # type: ignore[arg-type]
        Reconciler(followers),  # type: ignore[arg-type]
        asyncio.Event(),
        asyncio.Event(),
    )


async def test_kopf_handles_only_events_of_ashchats(fake: Kopf, followers: Followers) -> None:
    """Handlers of other types would add finalizers and annotations, or more watches."""
    await begin(followers)
    registry = fake.arguments["registry"]
    (watching,) = registry._watching.get_all_handlers()
    selector = watching.selector
    assert (selector.group, selector.version, selector.any_name) == (GROUP, VERSION, PLURAL)
    for others in ("_changing", "_spawning", "_indexing", "_webhooks"):
        assert not getattr(registry, others).get_all_handlers(), others


async def test_kopf_does_not_use_peering(fake: Kopf, followers: Followers) -> None:
    await begin(followers)
    assert fake.arguments["standalone"] is True


@pytest.mark.parametrize(
    ("named", "namespaces"), [("", ()), ("one,two", ("one", "two")), ("one, two,", ("one", "two"))]
)
async def test_kopf_watches_the_namespaces_given_or_all(
    fake: Kopf, followers: Followers, named: str, namespaces: tuple[str, ...]
) -> None:
    await begin(followers, watch_namespaces=named)
    assert fake.arguments["namespaces"] == namespaces
    assert fake.arguments["clusterwide"] is (not namespaces)


async def test_every_watch_and_request_of_kopf_has_a_timeout(
    fake: Kopf, followers: Followers
) -> None:
    await begin(followers)
    settings = fake.arguments["settings"]
    watching, networking = settings.watching, settings.networking
    assert 0 < watching.server_timeout < watching.client_timeout <= 310
    assert 0 < watching.connect_timeout <= 30
    assert 0 < networking.request_timeout <= 60
    # The API server retains events for at least 75 s, so a reconnect misses none.
    assert 0 < watching.inactivity_timeout <= 75


async def test_kopf_does_not_scan_for_definitions_or_post_events(
    fake: Kopf, followers: Followers
) -> None:
    """Both need cluster-wide permissions, which an operator of some namespaces lacks."""
    await begin(followers)
    assert fake.arguments["settings"].scanning.disabled
    assert not fake.arguments["settings"].posting.enabled


async def test_kopfs_failure_ends_the_process(fake: Kopf, followers: Followers) -> None:
    fake.fails = RuntimeError("the watch is unavailable")
    with pytest.raises(RuntimeError, match="unavailable"):
        await begin(followers)


@pytest.mark.parametrize("kind", [None, "ADDED", "MODIFIED"])
async def test_an_existing_ashchat_is_tracked(
    fake: Kopf, followers: Followers, kind: str | None
) -> None:
    await begin(followers)
    await tell(fake, kind, "one")
    assert followers.kept == [("one", "demo")]
    assert not followers.forgotten


async def test_a_deleted_ashchat_is_forgotten_everywhere(fake: Kopf, followers: Followers) -> None:
    await begin(followers)
    await tell(fake, "DELETED", "one")
    assert not followers.kept
    assert followers.looks_ended == followers.forgotten == [("one", "demo")]


@pytest.mark.parametrize("kind", ["ADDED", "DELETED"])
async def test_another_operators_namespace_is_left_alone(
    fake: Kopf, followers: Followers, kind: str
) -> None:
    await begin(followers, exclude_namespaces="one, two")
    await tell(fake, kind, "two")
    assert not followers.kept
    assert not followers.looks_ended
    assert not followers.forgotten


async def tell(fake: Kopf, kind: str | None, namespace: str) -> None:
    """Pass on an event as kopf does."""
    (handler,) = fake.arguments["registry"]._watching.get_all_handlers()
    await handler.fn(event={"type": kind, "object": {}}, namespace=namespace, name="demo")
