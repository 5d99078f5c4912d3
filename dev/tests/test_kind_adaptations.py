from pathlib import Path

import pytest

from ashchat_dev.kind.adaptations import Machine, containerd_config, systemd_unit
from ashchat_dev.kind.memory import require_memory
from ashchat_node.errors import NodeError

CONFIG = """\
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "registry.k8s.io/pause:3.10"
  # restrict_oom_score_adj needs to be true when running inside UserNS (rootless)
  restrict_oom_score_adj = false
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
    SystemdCgroup = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.test-handler.options]
    SystemdCgroup = true
"""
UNIT = """\
[Service]
ExecStart=/usr/local/bin/containerd
LimitNPROC=infinity
LimitNOFILE=infinity
TasksMax=infinity
OOMScoreAdjust=-999
"""
PAUSE = "registry.k8s.io/pause:3.99"


def test_a_complete_machine_only_gets_the_sandbox_image_that_it_has() -> None:
    adapted = containerd_config(CONFIG, Machine(), PAUSE)
    assert adapted == CONFIG.replace("pause:3.10", "pause:3.99")
    assert systemd_unit(UNIT, Machine()) == UNIT


def test_without_the_capability_no_score_is_lowered_and_no_limit_raised() -> None:
    here = Machine(sys_resource=False)
    assert "\n  restrict_oom_score_adj = true\n" in containerd_config(CONFIG, here, PAUSE)
    assert systemd_unit(UNIT, here) == (
        "[Service]\nExecStart=/usr/local/bin/containerd\nTasksMax=infinity\n"
    )


def test_on_cgroup_v1_no_runtime_uses_systemd() -> None:
    adapted = containerd_config(CONFIG, Machine(cgroup="v1"), PAUSE)
    assert adapted.count("SystemdCgroup = false") == 2
    assert "SystemdCgroup = true" not in adapted
    assert "restrict_oom_score_adj = false" in adapted


@pytest.mark.parametrize("text", ["version = 2\n", CONFIG + CONFIG])
def test_a_configuration_of_another_shape_is_an_error(text: str) -> None:
    with pytest.raises(NodeError, match="times instead of 1"):
        containerd_config(text, Machine(), PAUSE)


def test_what_is_adapted_is_described() -> None:
    assert Machine().described() == ""
    both = Machine(cgroup="v1", sys_resource=False)
    assert both.described() == "cgroup v1, no CAP_SYS_RESOURCE"


def test_a_machine_with_too_little_memory_is_refused(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    require_memory(meminfo)  # absent elsewhere than on Linux
    meminfo.write_text("MemTotal: 8388608 kB\nMemFree: 1024 kB\nMemAvailable:    4194304 kB\n")
    require_memory(meminfo)
    meminfo.write_text("MemTotal: 8388608 kB\nMemAvailable:    1048576 kB\n")
    with pytest.raises(NodeError, match=r"needs 3.0 GiB of memory, and 1.0 GiB are available"):
        require_memory(meminfo)
