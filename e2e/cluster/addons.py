"""What a cluster needs inside before anything is installed: fake GPUs. Manifests, and applying them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from e2e.cluster.shell import sh
from e2e.cluster.spec import ClusterSpec

MANIFESTS: Final = Path(__file__).resolve().parent / "manifests"


def fake_gpus(spec: ClusterSpec, nodes: Sequence[str]) -> str:
    """Build the manifests of the device plugin; `nodes` are the names of the spec's nodes, in its order."""
    mounts = [{"host": mount.host, "container": mount.container} for mount in spec.mounts]
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "fake-gpu", "namespace": "kube-system"},
        "data": {
            node: json.dumps(
                {"count": gpus.count, "product": gpus.product, "memoryMiB": gpus.memory_mib, "mounts": mounts}
            )
            for node, gpus in zip(nodes, spec.gpus, strict=True)
        },
    }
    return f"---\n{json.dumps(config)}\n---\n{(MANIFESTS / 'fake-gpu.yaml').read_text()}"


def apply(kubectl: Path, kubeconfig: Path, manifests: str) -> None:
    """Apply manifests that this tool owns."""
    # The schemas are half a second of work, and these manifests are no user's.
    words = ("apply", "--server-side", "--force-conflicts", "--validate=false", "-f", "-")
    sh(kubectl, "--kubeconfig", kubeconfig, *words, input=manifests)
