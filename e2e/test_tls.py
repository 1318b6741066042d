"""Encryption towards callers on a real cluster: a Secret in the pod, renewed while it serves."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx
import pytest
import yaml

from e2e.caller import chat_body
from e2e.certificates import Pair, self_signed, shown_name
from e2e.cluster import Cluster, backends
from e2e.doubles import applied
from e2e.stack import SYSTEM, Stack, install
from e2e.waiting import until

pytestmark = pytest.mark.e2e

SECRET: Final = "gateway-certificate"
PORT: Final = 443
KUBELET_SECONDS: Final = 150
"""Within this a kubelet has brought a changed Secret into its pods."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encrypted:
    """Tertium whose callers are served by TLS."""

    stack: Stack
    host: str
    folder: Path

    def chat(self, model: str, pair: Pair) -> httpx.Response:
        """Ask as a client does that trusts this certificate, by HTTP/2 if the server can."""
        trust = ssl.create_default_context(cafile=pair["tls.crt"])
        with httpx.Client(verify=trust, trust_env=False, timeout=120) as client:
            url = f"https://{self.host}:{PORT}/v1/chat/completions"
            return client.post(url, json=chat_body(model, "Hello"))

    def pair(self, name: str) -> Pair:
        """Make another certificate for the gateway's address."""
        folder = self.folder / name
        folder.mkdir()
        return self_signed(folder, name, f"IP:{self.host}")

    def put(self, pair: Pair) -> None:
        """Make it the Secret's, as a certificate manager does."""
        files = {key: path.read_text() for key, path in pair.items()}
        metadata = {"name": SECRET, "namespace": SYSTEM}
        secret = {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": metadata}
        manifest = yaml.safe_dump({**secret, "stringData": files})
        self.stack.cluster.kubectl("apply", "--server-side", "-f", "-", input=manifest)


@pytest.fixture(scope="module")
def encrypted(
    cluster: Cluster, stack: Stack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Encrypted]:
    """With a certificate; afterwards callers are served without again."""
    if backends.choose("auto", cluster.name).kind != "local":
        pytest.skip("the way to another cluster's Services is a proxy that ends TLS")
    host = urlsplit(stack.caller.url).hostname
    assert host is not None
    it = Encrypted(stack=stack, host=host, folder=tmp_path_factory.mktemp("certificates"))
    it.put(it.pair("first"))
    install(cluster, f"gateway.tls.secretName={SECRET}")
    yield it
    install(cluster)
    cluster.kubectl("-n", SYSTEM, "delete", "secret", SECRET)


def test_a_caller_wakes_a_model_over_tls_and_a_renewed_certificate_is_taken_without_a_restart(
    encrypted: Encrypted, namespace: str
) -> None:
    stack, first = encrypted.stack, {"tls.crt": encrypted.folder / "first" / "tls.crt"}
    with applied(stack, "over-tls", namespace, scaling={"idleSeconds": 600}) as sample:
        sample.wait_condition("Ready", "True", seconds=60)
        answer = encrypted.chat(sample.model, first)
        assert answer.status_code == 200, answer.text
        pods = stack.pods("gateway")
        second = encrypted.pair("second")
        encrypted.put(second)

        def taken_by_both() -> bool:
            return {shown_name(encrypted.host, PORT) for _ in range(12)} == {"second"}

        until("both gateways show the new certificate", taken_by_both, seconds=KUBELET_SECONDS, every=1)
        assert encrypted.chat(sample.model, second).status_code == 200
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            encrypted.chat(sample.model, first)
        assert stack.pods("gateway") == pods


def test_a_caller_without_encryption_is_told_nothing(encrypted: Encrypted) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://{encrypted.host}:{PORT}/v1/models", trust_env=False, timeout=10)
