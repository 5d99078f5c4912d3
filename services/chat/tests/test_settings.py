from pathlib import Path

from ashchat_chat.settings import Settings
from ashchat_core.settings import env_example


def test_env_example_is_what_the_settings_say() -> None:
    example = Path(__file__).parents[1] / ".env.example"
    assert example.read_text() == env_example(Settings)
