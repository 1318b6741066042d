"""A way to Services to which this machine has no route: `kubectl proxy`, as long as this process lives."""

import atexit
import re
import subprocess
from pathlib import Path
from typing import Any

from e2e.cluster.errors import ClusterError


class ApiProxy:
    """Plain HTTP on a port of this machine, through the API server to a Service's pods."""

    def __init__(self, kubectl: Path, kubeconfig: Path) -> None:
        command = [str(kubectl), "--kubeconfig", str(kubeconfig), "proxy", "--port=0"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        atexit.register(self.close)
        first = self._process.stdout.readline() if self._process.stdout else ""
        found = re.search(r"127\.0\.0\.1:\d+", first)
        if not found:
            self.close()
            raise ClusterError(f"kubectl proxy: expected the address it serves on, found {first.strip()!r}")
        self._address = found[0]

    def url(self, service: dict[str, Any]) -> str:
        """Return the URL of the first port of a Service object."""
        where, port = service["metadata"], service["spec"]["ports"][0]["port"]
        return f"http://{self._address}/api/v1/namespaces/{where['namespace']}/services/{where['name']}:{port}/proxy"

    def close(self) -> None:
        """End the proxy."""
        self._process.terminate()
        self._process.communicate()
