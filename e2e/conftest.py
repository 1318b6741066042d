"""Fixtures of the end-to-end tests: one cluster and one installation for all, a namespace per file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import pytest

from e2e.cluster import Cluster
from e2e.environment import Environment, prepare
from e2e.stack import Stack, delete_namespace, install, make_namespace


@pytest.fixture(scope="session")
def environment() -> Iterator[Environment]:
    """A running cluster with all images: TERTIUM_CLUSTER or `e2e`. TERTIUM_KEEP=1 leaves it running."""
    running = prepare(os.environ.get("TERTIUM_CLUSTER", "e2e"))
    yield running
    if os.environ.get("TERTIUM_KEEP") != "1":
        running.cluster.down()


@pytest.fixture(scope="session")
def cluster(environment: Environment) -> Cluster:
    """The cluster alone, for tests that need nothing of Tertium."""
    return environment.cluster


@pytest.fixture(scope="session")
def stack(cluster: Cluster) -> Stack:
    """Tertium, installed by its chart."""
    return install(cluster)


@pytest.fixture(scope="module")
def namespace(environment: Environment, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace with the models, named after the test file."""
    name = re.sub("[^a-z0-9]+", "-", request.module.__name__.split(".")[-1].removeprefix("test_"))
    make_namespace(environment, name)
    yield name
    delete_namespace(environment.cluster, name)
