from pathlib import Path

import pytest
from pydantic import Field

from ashchat_core.settings import ServiceSettings, env_example


class Example(ServiceSettings):
    colour: str = Field("red", description="Which colour.")


def test_every_setting_is_in_the_example_with_its_meaning_and_default() -> None:
    text = env_example(Example)
    assert "\n# Which colour.\nASHCHAT_COLOUR=red\n" in text
    assert text.count("\nASHCHAT_") == len(Example.model_fields)


def test_the_example_is_a_valid_env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text(env_example(Example).replace("red", "blue"))
    settings = Example()
    assert settings.colour == "blue"
    assert settings.port == 8080


def test_the_environment_comes_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("ASHCHAT_PORT=1\n")
    monkeypatch.setenv("ASHCHAT_PORT", "2")
    assert Example().port == 2
