"""The cluster itself, without Tertium: names, Services, exclusive GPUs, a neighbour that leaves no trace."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from e2e.cluster import Cluster, ClusterError, backends
from e2e.cluster.local.backend import LocalBackend
from e2e.cluster.local.cgroup import Cgroup, program_of
from e2e.cluster.local.layout import Layout
from e2e.cluster.progress import Steps
from e2e.cluster.state import state_root
from e2e.waiting import until

pytestmark = pytest.mark.e2e

IMAGE: Final = "localhost/tertium-operator:dev"
SPACE: Final = "cluster-test"
NEIGHBOUR: Final = "neighbour"
HALF: Final = "half"


@pytest.fixture(scope="module")
def space(cluster: Cluster) -> Iterator[str]:
    """A namespace that goes with everything in it."""
    cluster.kubectl("create", "namespace", SPACE)
    yield SPACE
    cluster.kubectl("delete", "namespace", SPACE, "--wait=false")


@pytest.fixture(scope="module")
def web(cluster: Cluster, space: str) -> Iterator[str]:
    """A Service of two pods, on as many nodes as there are, that answers on port 80."""
    labels = {"app": "web"}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "containers": [
                        {
                            "name": "web",
                            "image": IMAGE,
                            "command": ["python3", "-m", "http.server", "8080", "--directory", "/etc"],
                            "readinessProbe": {
                                "httpGet": {"path": "/hostname", "port": 8080},
                                "periodSeconds": 1,
                            },
                        }
                    ],
                },
            },
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 8080}]},
    }
    for document in (deployment, service):
        cluster.kubectl("-n", space, "apply", "-f", "-", input=json.dumps(document))
    cluster.kubectl("-n", space, "rollout", "status", "deployment/web", "--timeout=60s")
    yield "web"
    cluster.kubectl("-n", space, "delete", "deployment,service", "web", "--wait=false")


def run_in_pod(cluster: Cluster, space: str, code: str) -> str:
    """Run Python in a pod of the Service and return what it printed."""
    return cluster.kubectl("-n", space, "exec", "deployment/web", "--", "python3", "-c", code).strip()


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("web", id="short name"),
        pytest.param(f"web.{SPACE}", id="name with its namespace"),
        pytest.param(f"web.{SPACE}.svc.cluster.local", id="full name"),
        pytest.param("kubernetes.default.svc", id="API server"),
    ],
)
def test_a_pod_resolves_services(cluster: Cluster, space: str, web: str, name: str) -> None:
    found = run_in_pod(cluster, space, f"import socket; print(socket.gethostbyname({name!r}))")
    service, _, namespace = name.partition(".")
    where = (namespace or space).split(".")[0]
    expected = cluster.kubectl("-n", where, "get", "service", service, "-o", "jsonpath={.spec.clusterIP}")
    assert found == expected


def test_a_pod_reaches_a_service_again_and_again(cluster: Cluster, space: str, web: str) -> None:
    code = "import urllib.request as u; print(*(u.urlopen('http://web/hostname').status for _ in range(8)))"
    assert run_in_pod(cluster, space, code) == " ".join(["200"] * 8)


def test_this_machine_reaches_a_service(cluster: Cluster, space: str, web: str) -> None:
    with urllib.request.urlopen(f"{cluster.service_url(space, web)}/hostname", timeout=5) as answer:
        assert answer.status == 200


def test_this_machine_asks_the_cluster_s_dns(cluster: Cluster, space: str, web: str) -> None:
    if not isinstance(cluster.backend, LocalBackend):
        pytest.skip("only the local back end routes cluster addresses to this machine")
    address = ("-o", "jsonpath={.spec.clusterIP}")
    expected = cluster.kubectl("-n", space, "get", "service", "web", *address)
    server = cluster.kubectl("-n", "kube-system", "get", "service", "kube-dns", *address)
    labels = (label.encode() for label in f"web.{space}.svc.cluster.local".split("."))
    name = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    # RFC 1035: one question for an A record; the address is the answer's last four bytes.
    question = struct.pack(">6H", 1, 0x0100, 1, 0, 0, 0) + name + struct.pack(">2H", 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.sendto(question, (server, 53))
        answer = client.recv(512)
    assert socket.inet_ntoa(answer[-4:]) == expected


def test_no_name_outside_the_cluster_resolves(cluster: Cluster, space: str, web: str) -> None:
    if not isinstance(cluster.backend, LocalBackend):
        pytest.skip("only the local back end is closed to the outside")
    with pytest.raises(subprocess.CalledProcessError, match="gaierror"):
        run_in_pod(cluster, space, "import socket; socket.gethostbyname('example.com')")


def gpu_nodes(cluster: Cluster) -> dict[str, dict[str, Any]]:
    """Every node that offers GPUs, by name."""
    items = json.loads(cluster.kubectl("get", "nodes", "-o", "json"))["items"]
    return {
        n["metadata"]["name"]: n for n in items if int(n["status"]["allocatable"].get("nvidia.com/gpu", 0))
    }


def test_nodes_have_the_labels_of_gpu_feature_discovery(cluster: Cluster) -> None:
    names = ("nvidia.com/gpu.product", "nvidia.com/gpu.memory", "nvidia.com/gpu.count")
    labels = [tuple(n["metadata"]["labels"][name] for name in names) for n in gpu_nodes(cluster).values()]
    assert sorted(labels) == [("Fake-GPU-24GB", "24576", "4"), ("Fake-GPU-2GB", "2048", "4")]


def gpu_pod(name: str, count: int, product: str) -> str:
    """Build a pod that holds GPUs and does nothing."""
    container = {
        "name": "c",
        "image": IMAGE,
        "command": ["python3", "-c", "import time; time.sleep(1000)"],
        "resources": {"limits": {"nvidia.com/gpu": count}},
    }
    spec = {
        "terminationGracePeriodSeconds": 0,
        "nodeSelector": {"nvidia.com/gpu.product": product},
        "containers": [container],
    }
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})


def pod_state(cluster: Cluster, space: str, name: str) -> tuple[str, str]:
    """Return a pod's phase and why it is not scheduled."""
    status = json.loads(cluster.kubectl("-n", space, "get", "pod", name, "-o", "json"))["status"]
    return status["phase"], " ".join(c.get("message", "") for c in status.get("conditions", []))


def test_a_gpu_is_held_by_one_pod_only(cluster: Cluster, space: str) -> None:
    for name in ("first", "second"):
        cluster.kubectl("-n", space, "apply", "-f", "-", input=gpu_pod(name, 3, "Fake-GPU-24GB"))
    states = {n: lambda n=n: pod_state(cluster, space, n) for n in ("first", "second")}
    until("the first pod runs", lambda: states["first"]()[0] == "Running", seconds=20)
    until(
        "the second pod is told why",
        lambda: "Insufficient nvidia.com/gpu" in states["second"]()[1],
        seconds=20,
    )
    held = cluster.kubectl("-n", space, "exec", "first", "--", "python3", "-c", PRINT_GPUS)
    assert len(set(held.strip().split(","))) == 3
    cluster.kubectl("-n", space, "delete", "pod", "first")
    until("the second pod runs", lambda: states["second"]()[0] == "Running", seconds=20)
    cluster.kubectl("-n", space, "delete", "pod", "second")


PRINT_GPUS: Final = "import os; print(os.environ['NVIDIA_VISIBLE_DEVICES'])"
UNHEALTHY: Final = "fake-gpu.tertium.dev/unhealthy"


def test_a_broken_gpu_is_no_longer_offered_until_it_is_mended(cluster: Cluster) -> None:
    node = next(iter(gpu_nodes(cluster)))

    def offered() -> str:
        return str(gpu_nodes(cluster)[node]["status"]["allocatable"]["nvidia.com/gpu"])

    cluster.kubectl("annotate", "node", node, f"{UNHEALTHY}=0,2", "--overwrite")
    try:
        until("two GPUs fewer", lambda: offered() == "2", seconds=20)
    finally:
        cluster.kubectl("annotate", "node", node, f"{UNHEALTHY}-")
    until("all GPUs again", lambda: offered() == "4", seconds=20)


def machine() -> dict[str, set[str]]:
    """Return what a cluster could leave behind on this machine: by kind, every name."""
    cable = Layout(name=NEIGHBOUR, state=state_root()).cable
    links = {link["ifname"] for link in json.loads(subprocess.check_output(["ip", "-j", "link"]))}
    routes = {str(r) for r in json.loads(subprocess.check_output(["ip", "-j", "route"])) if r["dev"] == cable}
    mounts = {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    commands = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            commands.add(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    groups = {str(path) for path in Path("/sys/fs/cgroup").glob("**/tertium-e2e-*")}
    rules = set(subprocess.check_output(["nft", "list", "ruleset"], text=True).splitlines())
    sysctls = {f"{name}={Path('/proc/sys', name).read_text().strip()}" for name in SYSCTLS}
    folders = {str(path) for path in map(Path, FOLDERS) if path.exists()}
    return {
        "links": {link for link in links if link.startswith(cable)},
        "routes": routes,
        "mounts": mounts,
        "processes": {command for command in commands if NEIGHBOUR in command},
        "cgroups": {group for group in groups if NEIGHBOUR in group},
        "firewall rules": rules,
        "sysctls": sysctls,
        "folders": folders,
        "network namespaces": set(os.listdir("/run/netns")) if os.path.isdir("/run/netns") else set(),
    }


SYSCTLS: Final = (
    *("kernel/panic", "kernel/panic_on_oops", "vm/overcommit_memory", "vm/panic_on_oom"),
    *("net/ipv4/ip_forward", "fs/inotify/max_user_instances"),
)
FOLDERS: Final = ("/var/lib/kubelet", "/var/lib/cni", "/run/containerd", "/tmp/hostpath_pv")


def test_a_second_cluster_beside_the_first_comes_and_goes_without_a_trace(cluster: Cluster) -> None:
    if not isinstance(cluster.backend, LocalBackend):
        pytest.skip("what is left behind on the machine is the local back end's matter")
    before = machine()
    neighbour = Cluster.up(NEIGHBOUR, backend="local", nodes=1, quiet=True)
    try:
        see_another_folder(neighbour)
        assert neighbour.kubectl("get", "nodes", "-o", "name").strip() == f"node/{NEIGHBOUR}-node-0"
        assert cluster.kubectl("get", "--raw", "/readyz") == "ok"
        made = {
            kind: machine()[kind] - before[kind]
            for kind in ("sysctls", "firewall rules", "mounts", "folders")
        }
        assert made == {kind: set() for kind in made}
    finally:
        neighbour.down(purge=True)
    after = machine()
    assert {kind: after[kind] - before[kind] for kind in before} == {kind: set() for kind in before}
    assert cluster.kubectl("get", "--raw", "/readyz") == "ok"


def test_up_after_a_killed_up_starts_the_cluster_all_the_same() -> None:
    if backends.choose("auto", HALF).kind != "local":
        pytest.skip("kind cleans up after itself")
    command = [
        sys.executable,
        "-m",
        "e2e.cluster",
        "up",
        "--name",
        HALF,
        "--backend",
        "local",
        "--nodes",
        "1",
    ]
    started = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert started.stderr is not None
    # Killed with etcd, API server and containerd up and the kubelet not yet: half a cluster.
    for line in started.stderr:
        if "API server ready" in line:
            break
    started.kill()
    started.wait()
    started.stderr.close()
    again = Cluster.up(HALF, backend="local", nodes=1, quiet=True)
    try:
        assert again.kubectl("get", "nodes", "-o", "name").strip() == f"node/{HALF}-node-0"
    finally:
        again.down(purge=True)


def see_another_folder(cluster: Cluster) -> None:
    """`up` with other mounts keeps the cluster; `up` without any keeps the mounts."""
    asked = Cluster.up(cluster.name, backend="local", nodes=1, mounts=["/usr/share:/opt/share"], quiet=True)
    config = json.loads(asked.kubectl("-n", "kube-system", "get", "configmap", "fake-gpu", "-o", "json"))
    (node,) = config["data"].values()
    assert json.loads(node)["mounts"] == [{"host": "/usr/share", "container": "/opt/share"}]
    Cluster.up(cluster.name, backend="local", nodes=1, quiet=True)
    assert isinstance(asked.backend, LocalBackend)
    assert [mount.host for mount in asked.backend.spec.mounts] == ["/usr/share"]


def test_up_on_a_running_cluster_changes_nothing(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    if not isinstance(cluster.backend, LocalBackend):
        pytest.skip("asks the local back end for its processes")
    daemons = {"etcd", "kube-apiserver", "kubelet", "containerd"}
    group = Cgroup(cluster.backend.layout.cgroup)
    before = {pid for pid in group.members() if program_of(pid) in daemons}
    cluster.backend.up(cluster.backend.spec, Steps(), keep=False)
    assert before == {pid for pid in group.members() if program_of(pid) in daemons}
    assert "is up already, 2 nodes Ready" in capsys.readouterr().err


def test_up_with_another_size_is_refused(cluster: Cluster) -> None:
    with pytest.raises(
        ClusterError, match=r"is up with 2 nodes .*; run `down` first or choose another --name"
    ):
        Cluster.up(cluster.name, nodes=1, quiet=True)
