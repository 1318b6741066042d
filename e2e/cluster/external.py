"""The external back end: the cluster of $KUBECONFIG, which is there already. It is used, never changed."""

import json
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from e2e.cluster import binaries, hosttools
from e2e.cluster.errors import ClusterError
from e2e.cluster.progress import Steps
from e2e.cluster.proxy import ApiProxy
from e2e.cluster.shell import CommandFailed, sh
from e2e.cluster.spec import ClusterSpec


class ExternalBackend:
    """Somebody else's cluster."""

    kind = "external"

    @property
    def kubeconfig(self) -> Path:
        """The client configuration that $KUBECONFIG names.

        Raises:
            ClusterError: it names none.
        """
        value = os.environ.get("KUBECONFIG", "")
        if not value or not Path(value).is_file():
            raise ClusterError(
                f"KUBECONFIG={value!r}: expected the path of the external cluster's client configuration"
            )
        return Path(value)

    def missing(self) -> list[str]:
        """Return what this machine lacks: Go, unless kubectl is there."""
        return [] if hosttools.find("kubectl") else hosttools.missing_go()

    def up(self, spec: ClusterSpec, steps: Steps, *, keep: bool) -> None:
        """See that the API answers and has as many Ready nodes as asked for, with GPUs."""
        try:
            nodes = json.loads(self._kubectl("get", "nodes", "-o", "json"))["items"]
        except CommandFailed as refused:
            raise ClusterError(
                f"the cluster of KUBECONFIG={self.kubeconfig} does not answer\n  {refused.stderr.strip()}"
            ) from refused
        ready = [
            n
            for n in nodes
            if any(c["type"] == "Ready" and c["status"] == "True" for c in n["status"]["conditions"])
        ]
        gpus = sum(int(n["status"].get("allocatable", {}).get("nvidia.com/gpu", 0)) for n in ready)
        if not ready:
            raise ClusterError(
                f"the cluster of KUBECONFIG={self.kubeconfig} has {len(nodes)} nodes and none is Ready"
            )
        if gpus == 0 and any(wish.count for wish in spec.gpus):
            steps.say(
                "no node offers nvidia.com/gpu, so that engines stay Pending (local and kind have fake ones)"
            )
        steps.say(f"external cluster answers: {len(ready)} nodes Ready, {gpus} GPUs")

    def down(self, steps: Steps, *, purge: bool) -> None:
        """Leave it as it is."""
        steps.say("an external cluster is not this tool's to stop: nothing done")

    def load(self, archives: Sequence[Path], steps: Steps) -> None:
        """Refuse."""
        raise ClusterError(
            "images: this tool does not reach the nodes of an external cluster; push them to a registry that"
            " the cluster can pull from (docker tag localhost/tertium-operator:dev"
            " REGISTRY/tertium-operator:TAG; docker push REGISTRY/tertium-operator:TAG) and give the chart"
            " images.operator.repository and .tag, likewise for the gateway"
        )

    def status(self) -> str:
        """Name it."""
        return f"external cluster of {self.kubeconfig}"

    def service_url(self, service: dict[str, Any]) -> str:
        """Return a URL through the API server."""
        return self._proxy.url(service)

    @cached_property
    def _proxy(self) -> ApiProxy:
        return ApiProxy(self._program(), self.kubeconfig)

    def _kubectl(self, *args: str) -> str:
        return sh(self._program(), "--kubeconfig", self.kubeconfig, "--request-timeout=10s", *args)

    @staticmethod
    def _program() -> Path:
        if found := hosttools.find("kubectl"):
            return Path(found)
        return binaries.build([binaries.KUBE], Steps())["kubectl"]
