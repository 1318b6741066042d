"""The product's client on a real API server, by the table that its fake obeys too."""

from __future__ import annotations

import pytest

from e2e.fleet.plane import Plane
from tertium.kube.client import KubeCluster
from tests.kube.behaviour import CASES, Case

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("case", [pytest.param(case, id=words) for words, case in CASES.items()])
async def test_the_real_cluster_agrees(
    plane: Plane, namespace: str, monkeypatch: pytest.MonkeyPatch, case: Case
) -> None:
    # The client library reads KUBECONFIG once, when it is imported.
    location = "kubernetes.aio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION"
    monkeypatch.setattr(location, str(plane.cluster.kubeconfig))
    async with KubeCluster.connect() as cluster:
        await case(cluster, namespace)
