from pathlib import Path

from ashchat_core.settings import env_example
from ashchat_email.settings import Settings


def test_env_example_is_what_the_settings_say() -> None:
    example = Path(__file__).parents[1] / ".env.example"
    assert example.read_text() == env_example(Settings)
