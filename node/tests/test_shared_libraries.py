"""Which Go tools are compiled with the libraries of Kubernetes, and so with its build cache."""

import re

import pytest

from ashchat_node.gotools import TOOLS

_REQUIRED = re.compile(r"^\s*(?:require )?(\S+\.\S+/?\S*) (v\S+)(?: // indirect)?$", re.MULTILINE)
_REPLACED = re.compile(r"^\s*(?:replace )?(\S+) => \S+ (v\S+)$", re.MULTILINE)


def versions(tool: str) -> dict[str, str]:
    """Return the version of each module that a tool is built with."""
    text = (TOOLS / tool / "go.mod").read_text()
    return dict(_REQUIRED.findall(text)) | dict(_REPLACED.findall(text))


@pytest.mark.parametrize("tool", ["helm", "metrics-server", "local-path-provisioner"])
def test_libraries_that_it_shares_with_kubernetes_have_the_same_version(tool: str) -> None:
    kubernetes, own = versions("kubernetes"), versions(tool)
    shared = own.keys() & kubernetes.keys()
    assert "k8s.io/client-go" in shared
    assert {name: own[name] for name in shared} == {name: kubernetes[name] for name in shared}
