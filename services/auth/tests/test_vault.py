"""Secrets at rest."""

from pathlib import Path

import pytest

from ashchat_auth.models import KeyRingMissingError
from ashchat_auth.vault import Vault
from auth_world import make_ring


@pytest.fixture
def ring(tmp_path: Path) -> Path:
    make_ring(tmp_path / "ring", "1")
    return tmp_path / "ring"


def test_what_is_sealed_opens_for_its_owner_only(ring: Path) -> None:
    vault = Vault(ring)
    sealed = vault.seal(b"secret", "ana")
    assert vault.open(sealed, "ana") == b"secret"
    assert "secret" not in sealed
    assert vault.seal(b"secret", "ana") != sealed
    with pytest.raises(KeyRingMissingError):
        vault.open(sealed, "bea")


@pytest.mark.parametrize("kept", [9, -4])
def test_what_was_tampered_with_does_not_open(ring: Path, kept: int) -> None:
    vault = Vault(ring)
    with pytest.raises(KeyRingMissingError):
        vault.open(vault.seal(b"secret", "ana")[:kept], "ana")


def test_a_new_key_seals_at_once_and_the_old_one_still_opens(ring: Path) -> None:
    vault = Vault(ring)
    old, before = vault.seal(b"x", "ana"), vault.revision
    make_ring(ring, "2")
    new = vault.seal(b"x", "ana")
    assert (old.partition(".")[0], new.partition(".")[0]) == ("1", "2")
    assert vault.open(old, "ana") == vault.open(new, "ana") == b"x"
    assert (vault.stale(old), vault.stale(new)) == (True, False)
    assert vault.revision not in {"", before}


def test_a_relabelled_version_does_not_open(ring: Path) -> None:
    vault = Vault(ring)
    old = vault.seal(b"x", "ana")
    (ring / "2.key").write_text((ring / "1.key").read_text())
    (ring / "active").write_text("2")
    with pytest.raises(KeyRingMissingError):
        vault.open("2" + old[1:], "ana")


def test_hashes_are_of_a_text_an_owner_and_a_key(ring: Path) -> None:
    vault = Vault(ring)
    (hashed,) = vault.keyed_hashes("code", "ana")
    assert vault.keyed_hashes("code", "ana") == (hashed,)
    assert vault.keyed_hashes("code", "bea") != (hashed,)
    make_ring(ring, "2")
    newest, older = vault.keyed_hashes("code", "ana")
    assert older == hashed
    assert newest.startswith("2.")


def test_a_ring_that_is_gone_or_broken_leaves_what_was_good(ring: Path) -> None:
    vault = Vault(ring)
    sealed = vault.seal(b"x", "ana")
    (ring / "active").write_text("9")
    assert vault.open(sealed, "ana") == b"x"
    (ring / "1.key").write_text("no key")
    assert vault.open(sealed, "ana") == b"x"


@pytest.mark.parametrize("broken", ["missing", "short", "not hex", "not there"])
def test_a_ring_that_was_never_usable_is_reported(ring: Path, broken: str) -> None:
    if broken == "missing":
        (ring / "active").unlink()
    elif broken == "short":
        (ring / "1.key").write_text("00" * 31)
    elif broken == "not hex":
        (ring / "1.key").write_text("xx" * 32)
    vault = Vault(ring if broken != "not there" else ring / "nowhere")
    assert vault.revision == ""
    with pytest.raises(KeyRingMissingError):
        vault.seal(b"x", "ana")
    with pytest.raises(KeyRingMissingError):
        vault.keyed_hashes("x", "ana")


def test_a_ring_that_comes_later_is_taken_into_use(tmp_path: Path) -> None:
    vault = Vault(tmp_path / "later")
    assert vault.revision == ""
    make_ring(tmp_path / "later")
    assert vault.revision
    assert vault.open(vault.seal(b"x", "ana"), "ana") == b"x"
