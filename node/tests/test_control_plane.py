import json
import tomllib
from dataclasses import replace
from pathlib import Path

from ashchat_node import containerd, kubeadm, kubelet, volumes
from ashchat_node.cluster_api import claimed_containers
from ashchat_node.footprint import Footprint
from ashchat_node.kubeadm import Versions
from ashchat_node.machine import Machine
from ashchat_node.paths import Paths
from ashchat_node.record import Record

PATHS = Paths()
VERSIONS = Versions(kubernetes="v1.36.3", etcd="v3.6.16", coredns="v1.12.4")
WEAK = Machine(
    linux=True,
    root=True,
    debian=True,
    cgroup="v1",
    missing_controllers=(),
    sys_resource=False,
    systemd=False,
    apparmor=False,
    overlay=True,
    br_netfilter=True,
    foreign=(),
    foreign_config=False,
    ports_in_use=(),
    overlapping_routes=(),
    free_disk_bytes=0,
    memory_bytes=0,
)
USUAL = replace(WEAK, cgroup="v2", sys_resource=True, systemd=True, apparmor=True)


def test_containerd_adapts() -> None:
    shim, pause = Path("/tools/shim"), "localhost/pause:1"
    weak = tomllib.loads(containerd.render_config(WEAK, PATHS, shim, pause))
    usual = tomllib.loads(containerd.render_config(USUAL, PATHS, shim, pause))
    runtime = "io.containerd.cri.v1.runtime"
    assert weak["plugins"][runtime]["restrict_oom_score_adj"] is True
    assert usual["plugins"][runtime]["restrict_oom_score_adj"] is False
    runc = usual["plugins"][runtime]["containerd"]["runtimes"]["runc"]
    assert runc["options"]["SystemdCgroup"] is True
    assert runc["runtime_path"] == "/tools/shim"
    assert weak["root"].startswith(str(PATHS.cache))
    assert weak["state"].startswith(str(PATHS.run))
    assert weak["plugins"][runtime]["stats_collect_period"] == "1h"
    images = weak["plugins"]["io.containerd.cri.v1.images"]
    assert images["pinned_images"]["sandbox"] == pause


def test_the_kubelet_adapts() -> None:
    weak, usual = kubelet.configuration(WEAK, PATHS), kubelet.configuration(USUAL, PATHS)
    assert weak["failCgroupV1"] is False
    assert weak["featureGates"] == {"KubeletInUserNamespace": True}
    assert weak["cgroupDriver"] == "cgroupfs"
    assert usual["cgroupDriver"] == "systemd"
    assert "failCgroupV1" not in usual
    assert "featureGates" not in usual


def test_nothing_listens_to_other_machines() -> None:
    init, cluster, node, proxy = kubeadm.configuration(WEAK, PATHS, VERSIONS)
    arguments = {each["name"]: each["value"] for each in cluster["apiServer"]["extraArgs"]}
    assert init["localAPIEndpoint"]["advertiseAddress"] == "10.244.0.1"
    assert arguments["bind-address"] == "10.244.0.1"
    assert node["address"] == "10.244.0.1"
    assert proxy["nodePortAddresses"] == ["127.0.0.0/8", "10.244.0.0/24"]


def test_services_work_without_br_netfilter() -> None:
    def masquerade(machine: Machine) -> bool:
        *_, proxy = kubeadm.configuration(machine, PATHS, VERSIONS)
        return bool(proxy["iptables"]["masqueradeAll"])

    assert masquerade(replace(WEAK, br_netfilter=False))
    assert not masquerade(WEAK)


def test_audit_files_are_mounted_where_the_api_server_looks() -> None:
    cluster = kubeadm.configuration(WEAK, PATHS, VERSIONS)[1]
    arguments = {each["name"]: each["value"] for each in cluster["apiServer"]["extraArgs"]}
    volumes_ = {each["mountPath"]: each for each in cluster["apiServer"]["extraVolumes"]}
    assert volumes_[arguments["audit-policy-file"]]["readOnly"] is True
    assert volumes_[str(Path(arguments["audit-log-path"]).parent)]["readOnly"] is False


def test_the_audit_policy_logs_writes_without_bodies() -> None:
    heartbeats, writes, rest = kubeadm.audit_policy()["rules"]
    assert heartbeats["level"] == "None"
    assert writes["level"] == "Metadata"
    assert {"create", "update", "patch", "delete"} <= set(writes["verbs"])
    assert "get" not in writes["verbs"]
    assert rest == {"level": "None"}


def test_the_configuration_is_plain_json() -> None:
    json.dumps(kubeadm.configuration(WEAK, PATHS, VERSIONS))


def test_image_list() -> None:
    listed = "localhost/n/kube-proxy:v1\nlocalhost/n/pause:3.10.2\n"
    assert kubeadm.parse_image_list(listed) == {
        "kube-proxy": "localhost/n/kube-proxy:v1",
        "pause": "localhost/n/pause:3.10.2",
    }


def test_running_tasks() -> None:
    printed = "TASK    PID     STATUS\nabc     12      RUNNING\ndef     0       STOPPED\n"
    assert containerd.parse_running(printed) == {"abc"}
    assert containerd.parse_running("TASK PID STATUS\n") == frozenset()


def test_claimed_containers() -> None:
    pods = {
        "items": [
            {
                "status": {
                    "containerStatuses": [
                        {"containerID": "containerd://abc", "state": {"running": {}}},
                        {"containerID": "containerd://def", "state": {"terminated": {}}},
                    ]
                }
            },
            {"status": {"phase": "Pending"}},
        ]
    }
    assert claimed_containers(pods) == {"abc"}


def test_volumes_are_local_ones_by_default() -> None:
    objects = {each["kind"]: each for each in volumes.objects("p:1", "h:1", Path("/volumes"))}
    annotations = objects["StorageClass"]["metadata"]["annotations"]
    assert annotations["storageclass.kubernetes.io/is-default-class"] == "true"
    assert annotations["defaultVolumeType"] == "local"
    config = objects["ConfigMap"]["data"]
    assert json.loads(config["config.json"])["nodePathMap"][0]["paths"] == ["/volumes"]
    helper = json.loads(config["helperPod.yaml"])
    assert helper["spec"]["containers"][0]["image"] == "h:1"


def test_a_record_survives_writing(tmp_path: Path) -> None:
    record = Record(
        programs={"kubectl": Path("/tools/kubectl")},
        versions=VERSIONS,
        footprint=Footprint(absent=("/etc/cni",), sysctls={"net/ipv4/ip_forward": "0"}),
        initialised=True,
    )
    record.write(tmp_path / "state" / "owner")
    assert Record.read(tmp_path / "state" / "owner") == record
    assert Record.read(tmp_path / "absent") is None
