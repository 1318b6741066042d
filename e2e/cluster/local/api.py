"""The few reads of the API that starting a cluster needs, without the half second that each kubectl takes."""

import contextlib
import http.client
import json
import ssl
from typing import Any

from e2e.cluster.local.layout import Layout
from e2e.cluster.slots import Addresses


class Api:
    """Reads as the administrator."""

    def __init__(self, layout: Layout, addresses: Addresses) -> None:
        self._host = addresses.control
        self._tls = ssl.create_default_context(cafile=str(layout.pki / "ca.crt"))
        self._tls.load_cert_chain(layout.pki / "admin.crt", layout.pki / "admin.key")

    def get(self, path: str) -> bytes:
        """Return a body.

        Raises:
            OSError: no answer within 2 s, or another status than 200.
        """
        connection = http.client.HTTPSConnection(self._host, 6443, context=self._tls, timeout=2)
        with contextlib.closing(connection):
            try:
                connection.request("GET", path)
                response = connection.getresponse()
                body = response.read()
            except http.client.HTTPException as broken:
                raise OSError(f"GET {path}: {broken!r}") from broken
        if response.status != 200:
            raise OSError(f"GET {path}: {response.status} {body[:200].decode(errors='replace')}")
        return body

    def ready(self) -> bool:
        """Say whether the API server takes requests."""
        return self.get("/readyz") == b"ok"

    def nodes(self) -> dict[str, Any]:
        """Return every node by name."""
        return {node["metadata"]["name"]: node for node in json.loads(self.get("/api/v1/nodes"))["items"]}

    def has_default_account(self) -> bool:
        """Say whether pods can be made in the namespace `default`."""
        return bool(self.get("/api/v1/namespaces/default/serviceaccounts/default"))


def node_complaint(node: dict[str, Any] | None, gpus: int) -> str:
    """Say what a node still lacks to run pods with GPUs; empty when nothing."""
    if node is None:
        return "is not registered"
    conditions = {c["type"]: c["status"] for c in node["status"].get("conditions", [])}
    if conditions.get("Ready") != "True":
        return "is not Ready"
    offered = int(node["status"].get("allocatable", {}).get("nvidia.com/gpu", 0))
    if offered != gpus:
        return f"offers {offered} of {gpus} GPUs"
    if gpus and "nvidia.com/gpu.product" not in node["metadata"]["labels"]:
        return "has no GPU labels"
    return ""
