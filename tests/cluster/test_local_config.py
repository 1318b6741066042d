"""What the parts of a local cluster are told."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from e2e.cluster import addons
from e2e.cluster.errors import ClusterError
from e2e.cluster.local import control, network, node
from e2e.cluster.local.api import node_complaint
from e2e.cluster.local.layout import Layout, check_state
from e2e.cluster.slots import Addresses
from e2e.cluster.spec import build_spec

AT = Addresses("10.203")
LAYOUT = Layout(name="demo", state=Path("/s/demo"))


def test_every_server_listens_inside_the_slot_and_nowhere_else() -> None:
    commands = [
        control.etcd(Path("etcd"), LAYOUT, AT),
        control.apiserver(Path("kube-apiserver"), LAYOUT, AT),
        control.controller_manager(Path("kcm"), LAYOUT, AT),
        control.scheduler(Path("kube-scheduler"), LAYOUT, AT),
    ]
    listening = [
        flag for command in commands for flag in command if "bind-address" in flag or "listen" in flag
    ]
    assert listening
    assert all(AT.control in flag for flag in listening)


def test_etcd_takes_no_client_without_a_certificate_of_its_own_authority() -> None:
    command = control.etcd(Path("etcd"), LAYOUT, AT)
    assert {"--client-cert-auth", "--peer-client-cert-auth"} <= set(command)
    assert "--trusted-ca-file=/s/demo/pki/etcd-ca.crt" in command


def test_the_api_server_notes_what_tertium_asks_and_nobody_elses_requests_and_no_bodies() -> None:
    ours, others = json.loads(control.audit_policy())["rules"]
    assert (ours["level"], ours["userGroups"]) == ("Metadata", ["system:serviceaccounts:tertium-system"])
    assert others == {"level": "None"}
    assert f"--audit-log-path={LAYOUT.audit}" in control.apiserver(Path("kube-apiserver"), LAYOUT, AT)


def test_a_kubelet_lives_in_its_own_cgroup_and_directories() -> None:
    config = json.loads(node.kubelet_config(LAYOUT, AT, 1))
    assert config["cgroupRoot"] == "/tertium-e2e-demo/node-1"
    assert config["containerRuntimeEndpoint"] == "unix:///s/demo/n1/ctrd.sock"
    assert config["address"] == "10.203.0.11"
    assert config["clusterDNS"] == ["10.203.32.10"]
    assert config["volumePluginDir"].startswith("/s/demo/")


def test_no_image_of_a_node_is_ever_collected() -> None:
    config = json.loads(node.kubelet_config(LAYOUT, AT, 0))
    assert config["imageGCHighThresholdPercent"] == 100
    assert set(config["evictionHard"].values()) == {"0%"}


def test_containerd_keeps_everything_below_the_nodes_directory() -> None:
    config = node.containerd_config(LAYOUT.home(0), LAYOUT.socket(0), "/cni")
    paths = [line.split('"')[1] for line in config.splitlines() if " = " in line and '"/' in line]
    assert [path for path in paths if not path.startswith("/s/demo/n0/")] == ["/cni"]


def test_a_node_mounts_its_own_over_every_constant_path() -> None:
    script = node.containerd(LAYOUT.home(0), LAYOUT, "containerd")[5]
    assert all(f" {point}\n" in script for point in control.MOUNTPOINTS)
    assert all(f" /proc/sys/{path}\n" in script for path in node.TUNABLES)


def test_pods_are_not_masqueraded_and_get_the_nodes_range() -> None:
    bridge = json.loads(node.cni_config(LAYOUT.home(2), AT.node_pods(2)))["plugins"][0]
    assert bridge["ipMasq"] is False
    assert bridge["ipam"]["ranges"] == [[{"subnet": "10.203.66.0/24"}]]


def test_the_cable_has_a_name_that_the_kernel_takes_and_that_is_the_clusters_alone() -> None:
    names = [replace(LAYOUT, name=name).cable for name in ("a", "b", "x" * 20)]
    assert len(set(names)) == 3
    assert all(len(name) <= 15 for name in names)


def test_only_the_clusters_own_cable_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    links = json.dumps([{"ifname": name} for name in ("lo", "eth0", "docker0", "tt12345678", LAYOUT.cable)])
    calls: list[tuple[str, ...]] = []

    def ip(*args: str, check: bool = True) -> str:
        calls.append(args)
        return links

    monkeypatch.setattr(network, "sh", ip)
    network.down(LAYOUT)
    assert calls[1:] == [("ip", "link", "del", LAYOUT.cable)]


def test_a_state_directory_too_deep_for_unix_sockets_is_refused() -> None:
    with pytest.raises(ClusterError, match=r"too long by \d+ characters for unix sockets; set TERTIUM_STATE"):
        check_state(replace(LAYOUT, state=Path("/" + "d" * 100)))


def test_fake_gpus_are_told_what_each_node_has() -> None:
    spec = build_spec("demo", gpu_nodes=["1=0"], mounts=["/srv/engine:/opt/vllm"])
    config = json.loads(addons.fake_gpus(spec, ["x", "y"]).split("---\n")[1])
    first, second = (json.loads(config["data"][name]) for name in ("x", "y"))
    mounts = [{"host": "/srv/engine", "container": "/opt/vllm"}]
    assert first == {"count": 4, "product": "Fake-GPU-24GB", "memoryMiB": 24576, "mounts": mounts}
    assert second["count"] == 0


@pytest.mark.parametrize(
    ("ready", "gpus", "labels", "complaint"),
    [
        pytest.param(
            "False", "4", {"nvidia.com/gpu.product": "A"}, "is not Ready", id="a node that is not Ready"
        ),
        pytest.param(
            "True", "0", {}, "offers 0 of 4 GPUs", id="a node whose device plugin has not registered"
        ),
        pytest.param("True", "4", {}, "has no GPU labels", id="a node that is not labelled yet"),
        pytest.param("True", "4", {"nvidia.com/gpu.product": "A"}, "", id="a node that is complete"),
    ],
)
def test_node_complaint(ready: str, gpus: str, labels: dict[str, str], complaint: str) -> None:
    status = {"conditions": [{"type": "Ready", "status": ready}], "allocatable": {"nvidia.com/gpu": gpus}}
    assert node_complaint({"metadata": {"labels": labels}, "status": status}, 4) == complaint


def test_a_node_that_never_registered_is_named_as_such() -> None:
    assert node_complaint(None, 4) == "is not registered"
