import importlib.util
import subprocess
import sys
from types import ModuleType

import pytest

from ashchat_dev.images import ROOT


@pytest.fixture
def bootstrap() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bootstrap", ROOT / "dev/bootstrap.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_key_is_that_of_every_input(bootstrap: ModuleType) -> None:
    inputs = bootstrap.inputs()
    key = bootstrap.key(inputs, "3.11")
    assert bootstrap.key(inputs, "3.11") == key
    assert bootstrap.key(inputs, "3.12") != key
    for name in inputs:
        assert bootstrap.key({**inputs, name: inputs[name] + b" "}, "3.11") != key


def test_the_inputs_are_the_locks_and_every_member(bootstrap: ModuleType) -> None:
    members = {str(each.parent.relative_to(ROOT)) for each in ROOT.glob("*/pyproject.toml")}
    members |= {str(each.parent.relative_to(ROOT)) for each in ROOT.glob("*/*/pyproject.toml")}
    assert set(bootstrap.MEMBERS) == members
    assert {"requirements/dev.txt", "requirements/bootstrap.txt"} <= set(bootstrap.inputs())


def test_uv_uses_the_index_that_pip_uses(bootstrap: ModuleType) -> None:
    said = {"PIP_INDEX_URL": "https://mirror.example/simple", "PIP_CERT": "/ca.pem"}
    assert bootstrap.index_settings(said) == {
        "UV_DEFAULT_INDEX": "https://mirror.example/simple",
        "SSL_CERT_FILE": "/ca.pem",
    }
    assert bootstrap.index_settings({**said, "UV_DEFAULT_INDEX": "x", "SSL_CERT_FILE": "y"}) == {}


def test_only_the_standard_library_is_needed() -> None:
    # -S: without site-packages; -I: without the environment
    code = f"import sys; sys.path.insert(0, {str(ROOT / 'dev')!r}); import bootstrap"
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True)
