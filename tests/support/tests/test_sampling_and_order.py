from pathlib import Path

import pytest

from ashchat_e2e import order, sampling

E2E = Path(__file__).parents[2] / "e2e"


def test_a_seed_determines_the_sample(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(sampling.WHOLE, raising=False)

    def drawn(seed: str, sweep: str = "a") -> list[int]:
        monkeypatch.setattr(sampling, "seed", lambda: seed)
        return sampling.sample(range(1000), 5, sweep)

    assert drawn("1") == drawn("1") == sorted(drawn("1"))
    assert drawn("1") != drawn("2")
    assert drawn("1") != drawn("1", "b")
    assert len(set(drawn("1"))) == 5


def test_a_soak_tries_all_members(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(sampling.WHOLE, "1")
    assert sampling.sample("abc", 1, "a") == ["a", "b", "c"]


def test_the_seed_is_the_commit_unless_given(monkeypatch: pytest.MonkeyPatch) -> None:
    sampling.seed.cache_clear()
    monkeypatch.setenv("ASHCHAT_SEED", "7")
    assert sampling.seed() == "7"
    sampling.seed.cache_clear()
    monkeypatch.delenv("ASHCHAT_SEED")
    assert len(sampling.seed()) >= 7
    sampling.seed.cache_clear()


def test_every_recorded_module_exists() -> None:
    missing = [name for name in order.durations() if not (E2E / name).is_file()]
    assert not missing, "record again: ASHCHAT_RECORD=1 make test-e2e"
