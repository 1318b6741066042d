"""API keys on a real API server, with the gateway's own rights and the real Envoy: made, judged, deleted."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from e2e.fleet.plane import SYSTEM, Plane
from e2e.waiting import until
from tertium.gateway.app import Gateway
from tertium.kube.client import KubeCluster
from tests.gateway.stack import a_layout, running_envoy, until_listening

pytestmark = pytest.mark.e2e

DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


def made(name: str, namespace: str, *options: str) -> tuple[str, str]:
    """Return a new key and its manifest, as `tertium key create` gives them to a user."""
    command = [sys.executable, "-m", "tertium", "key", "create", name, "-n", namespace, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stderr.rpartition(" ")[2].strip(), done.stdout


def gateways_kubeconfig(plane: Plane, directory: Path) -> Path:
    """Write a kubeconfig with a token of the gateway's account."""
    config = json.loads(Path(plane.cluster.kubeconfig).read_text())
    token = plane.cluster.kubectl("-n", SYSTEM, "create", "token", "tertium-gateway", "--duration=1h")
    config["users"][0]["user"] = {"token": token.strip()}
    path = directory / "gateway.kubeconfig"
    path.touch(mode=0o600)
    path.write_text(json.dumps(config))
    return path


class Door:
    """The gateway as a caller with a key meets it."""

    def __init__(self, session: aiohttp.ClientSession, port: int) -> None:
        self._session = session
        self._url = f"http://127.0.0.1:{port}/v1/models"

    async def status(self, key: str) -> int:
        async with self._session.get(self._url, headers={"Authorization": f"Bearer {key}"}) as answer:
            return answer.status

    async def until(self, key: str, status: int) -> float:
        """Ask until the answer is this one; return how long that took, in seconds."""
        begun = time.monotonic()
        async with asyncio.timeout(20):
            while await self.status(key) != status:  # noqa: ASYNC110 - asks Envoy
                await asyncio.sleep(0.005)
        return time.monotonic() - begun


@asynccontextmanager
async def running_gateway(directory: Path) -> AsyncIterator[Door]:
    """One gateway pod whose callers need a key."""
    layout, report = a_layout(directory, api_keys=True)
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        running_envoy(directory),
        KubeCluster.connect() as cluster,
    ):
        gateway = Gateway(layout=layout, cluster=cluster, session=session, holder="test", home=SYSTEM)
        async with gateway.serving(report_host="127.0.0.1", report_port=report):
            await until_listening(layout.listen_port)
            yield Door(session, layout.listen_port)


async def test_a_key_works_when_it_is_applied_and_not_when_it_is_deleted(
    plane: Plane, namespace: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # The client library reads KUBECONFIG once, when it is imported.
    location = "kubernetes.aio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION"
    monkeypatch.setattr(location, str(gateways_kubeconfig(plane, tmp_path)))
    key, manifest = made("ci", namespace, "--requests-per-minute", "100000")
    async with running_gateway(tmp_path) as door:
        assert await door.status(key) == 401
        await asyncio.to_thread(
            plane.cluster.kubectl, "apply", "--validate=strict", "-f", "-", input=manifest
        )
        applied = await door.until(key, 200)
        deleting = asyncio.create_task(
            asyncio.to_thread(plane.cluster.kubectl, "-n", namespace, "delete", "apikey", "ci")
        )
        deleted = await door.until(key, 401)
        await deleting
    sys.stdout.write(
        f"known {applied:.3f} s after kubectl apply, refused {deleted:.3f} s after its delete began\n"
    )
    assert deleted < 2
    assert key not in manifest


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        pytest.param({}, "spec.keySHA256: Required value", id="no hash"),
        pytest.param(
            {"keySHA256": DIGEST[:-1]},
            "spec.keySHA256 in body should be at least 64 chars long",
            id="a short hash",
        ),
        pytest.param({"keySHA256": DIGEST.upper()}, "spec.keySHA256 in body should match", id="in capitals"),
        pytest.param(
            {"keySHA256": DIGEST, "allow": []},
            "spec.allow in body should have at least 1 items",
            id="an empty list",
        ),
        pytest.param(
            {"keySHA256": DIGEST, "allow": [{"name": "*-chat"}]},
            "spec.allow[0].name in body should match",
            id="a * that is not at the end",
        ),
        pytest.param(
            {"keySHA256": DIGEST, "requestsPerMinute": 0},
            "spec.requestsPerMinute in body should be greater than or equal to 1",
            id="no requests",
        ),
        pytest.param(
            {"keySHA256": DIGEST, "expiresAt": "soon"},
            "spec.expiresAt in body must be of type date-time",
            id="no time",
        ),
        pytest.param({"keySHA256": DIGEST, "key": "sk-x"}, 'unknown field "spec.key"', id="the key itself"),
    ],
)
def test_the_api_server_refuses_what_no_key_can_say(
    plane: Plane, namespace: str, spec: dict[str, Any], words: str
) -> None:
    manifest = {
        "apiVersion": "tertium.dev/v1alpha1",
        "kind": "APIKey",
        "metadata": {"name": "wrong", "namespace": namespace},
        "spec": spec,
    }
    with pytest.raises(subprocess.CalledProcessError) as refused:
        plane.cluster.kubectl("apply", "--validate=strict", "-f", "-", input=yaml.safe_dump(manifest))
    assert words in str(refused.value.stderr)


def test_kubectl_shows_the_limits_of_a_key(plane: Plane, namespace: str) -> None:
    _, manifest = made("ci", namespace, "--max-concurrent-requests", "4", "--expires-in", "90d")
    plane.cluster.kubectl("apply", "-f", "-", input=manifest)
    header, row = plane.cluster.kubectl("-n", namespace, "get", "llmkey").splitlines()
    assert header.split() == ["NAME", "REQUESTS/MIN", "CONCURRENT", "EXPIRES", "AGE"]
    assert row.split()[:2] == ["ci", "4"]


def test_who_may_edit_a_namespace_may_make_its_keys_and_no_others(plane: Plane, namespace: str) -> None:
    words = ("create", "rolebinding", "editor", "--clusterrole=edit", "--user=editor", "-n", namespace)
    plane.cluster.kubectl(*words)

    def may(where: str) -> str:
        question = ("auth", "can-i", "create", "apikeys.tertium.dev", "-n", where, "--as=editor")
        try:
            return plane.cluster.kubectl(*question).strip()
        except subprocess.CalledProcessError as error:
            return str(error.stdout).strip()

    until("the role's rights", lambda: may(namespace) == "yes", seconds=20)
    assert may(SYSTEM) == "no"
