"""A separate world for every test."""

from pathlib import Path

import pytest

from auth_world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "ring")
