from pathlib import Path

import pytest

from ashchat_dev import up


@pytest.fixture
def env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / ".ashchat" / "env"
    monkeypatch.setattr(up, "ENV_FILE", file)
    return file


def test_a_temporary_cluster_restores_the_environment(env_file: Path) -> None:
    up.write_env({"CLUSTER": "node"})

    def fail() -> None:
        with up.env_kept():
            up.write_env({"CLUSTER": "kind"})
            assert up.used() == "kind"
            raise ConnectionError

    with pytest.raises(ConnectionError):
        fail()
    assert up.used() == "node"
    assert env_file.read_text() == "CLUSTER=node\n"


def test_a_temporary_cluster_leaves_no_environment(env_file: Path) -> None:
    with up.env_kept():
        up.write_env({"CLUSTER": "kind"})
    assert up.used() is None
    assert not env_file.exists()
