"""Fake nodes with GPUs on a control plane, by kwok: pods become Ready, Jobs end, logs can be read.

It knows the local back end's files; it must not know Tertium.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from string import Template
from typing import Any, Final

from e2e.cluster import binaries
from e2e.cluster.local import pki
from e2e.cluster.local.backend import LocalBackend
from e2e.cluster.local.layout import CONTROL_GROUP
from e2e.cluster.local.processes import Processes
from e2e.cluster.progress import Steps
from e2e.fleet.api import Api

KUBELET_PORT: Final = 10250
PRODUCT: Final = "Fake-GPU-24GB"
GPUS_PER_NODE: Final = 8
_CONFIG: Final = Path(__file__).parent / "kwok.yaml"
_MANAGED: Final = "kwok.x-k8s.io/node"


def start(backend: LocalBackend, steps: Steps, *, logs: dict[str, str]) -> None:
    """Start kwok on the machine's own address; `logs` is what a container of a name has said, in lines."""
    layout, address = backend.layout, backend.addresses.machine
    binary = binaries.build([binaries.KWOK], steps)["kwok"]
    folder = layout.conf / "kwok"
    folder.mkdir(exist_ok=True)
    stamp = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    for container, text in logs.items():
        lines = "".join(f"{stamp} stdout F {line}\n" for line in text.splitlines())
        (folder / f"{container}.log").write_text(lines)
    config = folder / "kwok.yaml"
    config.write_text(Template(_CONFIG.read_text()).safe_substitute(logs=folder))
    pki.certificate(layout.pki, "kwok", "/CN=kwok", ca="ca", san=f"IP:{address}")
    processes = Processes(layout)
    processes.start(
        "kwok",
        CONTROL_GROUP,
        [
            *(str(binary), f"--kubeconfig={layout.kubeconfig}", f"--config={config}"),
            *(f"--node-ip={address}", f"--node-port={KUBELET_PORT}"),
            *(f"--server-address={address}:{KUBELET_PORT}", "--cidr=10.245.0.0/16"),
            *(f"--tls-cert-file={layout.pki}/kwok.crt", f"--tls-private-key-file={layout.pki}/kwok.key"),
            *(f"--manage-nodes-with-annotation-selector={_MANAGED}=fake", "--node-lease-duration-seconds=40"),
        ],
    )


def add_nodes(api: Api, address: str, count: int) -> None:
    """Make nodes that are Ready at once; kwok renews their Leases."""
    for index in range(count):
        api.create("/api/v1/nodes", _node(f"fake-{index}", address))


def _node(name: str, address: str) -> dict[str, Any]:
    resources = {"cpu": "64", "memory": "512Gi", "pods": "250", "nvidia.com/gpu": str(GPUS_PER_NODE)}
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    ready = {"type": "Ready", "status": "True", "reason": "Fake", "message": "fake"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {_MANAGED: "fake"},
            "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
                "nvidia.com/gpu.product": PRODUCT,
                "nvidia.com/gpu.memory": "24576",
                "nvidia.com/gpu.count": str(GPUS_PER_NODE),
            },
        },
        "status": {
            "capacity": resources,
            "allocatable": resources,
            "addresses": [{"type": "InternalIP", "address": address}],
            "conditions": [{**ready, "lastHeartbeatTime": now, "lastTransitionTime": now}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": KUBELET_PORT}},
        },
    }
