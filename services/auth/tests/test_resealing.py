"""What a retiring key sealed is re-encrypted, and no account loses its second factor."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from ashchat_auth.models import Enrolment, RecoveryCode, TwoFactor, User
from ashchat_auth.service.resealing import PAGE_ACCOUNTS, Resealing
from ashchat_auth.vault import Vault
from ashchat_core import at_rest
from auth_world import LostError, MemoryStore, make_ring

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def user(vault: Vault, name: str) -> User:
    def sealed(word: str) -> str:
        return vault.seal(word.encode(), name)

    (hashed,) = vault.keyed_hashes("code", name)
    recovery = (RecoveryCode(hash=hashed),)
    return User(
        id=name,
        email=f"{name}@example.org",
        email_key=f"{name}@example.org",
        name=name,
        password_hash="h",
        preferred_language="es",
        created_at=NOW,
        two_factor=TwoFactor(secret=sealed("totp"), last_step=0, recovery=recovery, at=NOW),
        enrolment=Enrolment(secret=sealed("begun"), at=NOW),
    )


@pytest.fixture
def ring(tmp_path: Path) -> Path:
    make_ring(tmp_path / "ring", "1")
    return tmp_path / "ring"


@pytest.fixture
def vault(ring: Path) -> Vault:
    return Vault(ring)


@pytest.fixture
def store(vault: Vault) -> MemoryStore:
    made = MemoryStore()
    made.users = {name: user(vault, name) for name in ("ana", "ben", "eva")}
    return made


def retire(ring: Path) -> None:
    make_ring(ring, "2")
    (ring / "retire").write_text("1\n")


def opened(vault: Vault, store: MemoryStore) -> set[tuple[bytes, bytes]]:
    return {
        (vault.open(x.two_factor.secret, x.id), vault.open(x.enrolment.secret, x.id))
        for x in store.users.values()
        if x.two_factor and x.enrolment
    }


async def test_a_new_active_key_alone_moves_nothing(
    ring: Path, vault: Vault, store: MemoryStore
) -> None:
    make_ring(ring, "2")
    assert await Resealing(store, vault).run() == {"1": 6, "2": 0}


async def test_a_retiring_key_is_emptied_and_everything_opens_without_it(
    ring: Path, vault: Vault, store: MemoryStore
) -> None:
    before = opened(vault, store)
    retire(ring)
    resealing = Resealing(store, vault)
    assert await resealing.run() == {"1": 0, "2": 6}
    assert await resealing.run() == {"1": 0, "2": 6}
    (ring / "1.key").unlink()
    (ring / "retire").unlink()
    assert vault.versions() == ("2",)
    assert opened(vault, store) == before


async def test_recovery_codes_outlive_the_key_that_hashed_them(
    ring: Path, vault: Vault, store: MemoryStore
) -> None:
    key = bytes.fromhex((ring / "1.key").read_text().strip())
    retire(ring)
    await Resealing(store, vault).run()
    (ring / "1.hash").write_text(at_rest.hashing_key(key).hex())
    (ring / "1.key").unlink()
    ana = store.users["ana"].two_factor
    assert ana is not None
    assert ana.recovery[0].hash in vault.keyed_hashes("code", "ana")
    assert key.hex() not in (ring / "1.hash").read_text()
    assert vault.keyed_hashes("code", "ana")[0].startswith("2.")


async def test_what_was_interrupted_is_gone_on_from(
    ring: Path, vault: Vault, store: MemoryStore
) -> None:
    retire(ring)
    store.fails = {"reseal"}
    with pytest.raises(LostError):
        await Resealing(store, vault).run()
    store.fails = set()
    assert (await Resealing(store, vault).run())["1"] == 0


async def test_a_secret_that_does_not_open_keeps_its_key_and_stops_no_other(
    ring: Path, vault: Vault, store: MemoryStore
) -> None:
    ben = store.users["ben"]
    assert ben.two_factor is not None
    stolen = ben.two_factor.model_copy(update={"secret": vault.seal(b"x", "ana")})
    store.users["ben"] = ben.model_copy(update={"two_factor": stolen})
    retire(ring)
    assert await Resealing(store, vault).run() == {"1": 1, "2": 5}


async def test_every_account_is_read_once_in_pages_and_none_at_the_next_start(
    ring: Path, vault: Vault, store: MemoryStore
) -> None:
    names = [f"{number:04}" for number in range(3 * PAGE_ACCOUNTS)]
    store.users = {name: user(vault, name) for name in names}
    retire(ring)
    assert (await Resealing(store, vault).run())["1"] == 0
    assert store.read == 2 * len(names), "each of the two secrets once"
    assert store.largest_page == PAGE_ACCOUNTS
    store.read = 0
    assert (await Resealing(store, vault).run())["1"] == 0
    assert store.read == 0


async def test_what_was_interrupted_is_not_begun_again(
    ring: Path, vault: Vault, store: MemoryStore
) -> None:
    names = [f"{number:04}" for number in range(3 * PAGE_ACCOUNTS)]
    store.users = {name: user(vault, name) for name in names}
    retire(ring)
    left = PAGE_ACCOUNTS * 2
    reseal = store.reseal

    async def fails_later(*arguments: str) -> None:
        nonlocal left
        if left == 0:
            raise LostError
        left -= 1
        await reseal(*arguments)  # type: ignore[arg-type]

    store.reseal = fails_later  # type: ignore[method-assign,assignment]
    with pytest.raises(LostError):
        await Resealing(store, vault).run()
    store.reseal = reseal  # type: ignore[method-assign]
    store.read = 0
    assert (await Resealing(store, vault).run())["1"] == 0
    assert store.read == 2 * len(names) - 2 * PAGE_ACCOUNTS


async def test_one_secret_that_does_not_open_is_passed(
    ring: Path, vault: Vault, store: MemoryStore
) -> None:
    names = [f"{number:04}" for number in range(2 * PAGE_ACCOUNTS)]
    store.users = {name: user(vault, name) for name in names}
    for name in names[: PAGE_ACCOUNTS + 1]:  # more than a page of them
        found = store.users[name].two_factor
        assert found is not None
        stolen = found.model_copy(update={"secret": vault.seal(b"x", "ana")})
        store.users[name] = store.users[name].model_copy(update={"two_factor": stolen})
    retire(ring)
    assert (await Resealing(store, vault).run())["1"] == PAGE_ACCOUNTS + 1
    assert store.read == 2 * len(names)


def test_the_revision_differs_for_every_step(ring: Path, vault: Vault) -> None:
    seen = [vault.revision]
    make_ring(ring, "2")
    (ring / "active").write_text("1")
    seen.append(vault.revision)
    (ring / "active").write_text("2")
    seen.append(vault.revision)
    (ring / "retire").write_text("1")
    assert vault.retiring() == ("1",)
    seen.append(vault.revision)
    assert len(set(seen)) == 4
    files = {path.name: path.read_text() for path in ring.iterdir()}
    assert at_rest.revision(files) == vault.revision
