"""One control plane with fake nodes for all integration tests, an operator where a test asks for one."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator

import pytest

from e2e.cluster.hosttools import LOCAL, install
from e2e.cluster.progress import Steps
from e2e.fleet.gateway import FakeGateway
from e2e.fleet.operator import OperatorProcess
from e2e.fleet.plane import SYSTEM, Plane
from e2e.fleet.proxy import FaultProxy

_COUNT = itertools.count()


@pytest.fixture(scope="session")
def plane() -> Iterator[Plane]:
    """Started afresh as TERTIUM_PLANE or `plane`. TERTIUM_KEEP=1 leaves it running."""
    install(LOCAL, Steps())
    running = Plane.up(os.environ.get("TERTIUM_PLANE", "plane"))
    yield running
    if os.environ.get("TERTIUM_KEEP") != "1":
        running.down()
    running.api.close()


@pytest.fixture(scope="session")
def gateway(plane: Plane) -> Iterator[FakeGateway]:
    """A gateway of one pod, which knows no deployment until it is told of one."""
    running = FakeGateway(plane.api, SYSTEM, plane.address)
    running.deploy()
    yield running
    running.close()


@pytest.fixture
def namespace(plane: Plane, request: pytest.FixtureRequest) -> str:
    """A namespace of the test's own."""
    words = re.sub("[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower())
    name = f"{words[:40]}-{next(_COUNT)}"
    plane.add_namespace(name)
    return name


@pytest.fixture(autouse=True)
def alone(plane: Plane) -> Iterator[None]:
    """No operator outlives the test that started it."""
    yield
    plane.kill_operators()


@pytest.fixture
def operator(plane: Plane) -> OperatorProcess:
    """An operator."""
    running = plane.operator()
    running.wait_ready()
    return running


@pytest.fixture
def proxy(plane: Plane) -> Iterator[FaultProxy]:
    """A proxy before the API server that breaks nothing yet."""
    running = FaultProxy(plane.api)
    yield running
    # Its operators would complain of its end.
    plane.kill_operators()
    running.close()
