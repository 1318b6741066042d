"""Every child in the four rows: absent, equal, drifted, foreign."""

from __future__ import annotations

import pytest

from tertium.api.meta import ObjectKey
from tertium.kube.cluster import CONFIG_MAP, DEPLOYMENT, LEASE, SERVICE, Kind
from tests.factories import FACTS, KEY
from tests.runtime.world import World

pytestmark = pytest.mark.parametrize(
    ("kind", "name"),
    [
        pytest.param(LEASE, "qwen-demand", id="the Lease"),
        pytest.param(SERVICE, "qwen-engine", id="the Service"),
        pytest.param(DEPLOYMENT, "qwen-engine", id="the Deployment"),
        pytest.param(CONFIG_MAP, "qwen-model", id="the ConfigMap"),
    ],
)


async def test_absent_is_made(kind: Kind, name: str) -> None:
    world = World()
    await world.settle_inspected()
    world.cluster.remove(kind, ObjectKey(KEY.namespace, name))
    if kind is CONFIG_MAP:
        await world.settle()
        world.end_inspection({"facts": FACTS})
    await world.settle()
    assert world.cluster.one(kind, name)["metadata"]["ownerReferences"][0]["uid"] == "uid-1"


async def test_equal_is_left_alone(kind: Kind, name: str) -> None:
    world = World()
    await world.settle_inspected()
    version = world.cluster.one(kind, name)["metadata"]["resourceVersion"]
    await world.pass_()
    assert world.cluster.one(kind, name)["metadata"]["resourceVersion"] == version


async def test_drifted_is_put_right(kind: Kind, name: str) -> None:
    world = World()
    await world.settle_inspected()
    live = world.cluster.one(kind, name)
    wanted = {part: live[part] for part in ("spec", "data") if part in live}
    drift = {"data": {"facts.json": live["data"]["facts.json"]}} if kind is CONFIG_MAP else {}
    metadata = {
        **live["metadata"],
        "labels": {**live["metadata"]["labels"], "tertium.dev/deployment": "qwen"},
    }
    metadata["labels"]["app.kubernetes.io/name"] = "changed"
    world.cluster.put({**live, **drift, "metadata": metadata})
    outcome = await world.pass_()
    assert outcome.actions == [f"changed {kind.kind} {name}"]
    after = world.cluster.one(kind, name)
    assert {part: after[part] for part in wanted} == wanted
    assert after["metadata"]["labels"]["app.kubernetes.io/name"] == "tertium"


async def test_foreign_is_never_touched(kind: Kind, name: str) -> None:
    world = World()
    foreign = {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {"name": name, "namespace": KEY.namespace},
        "spec": {"mine": True},
    }
    world.cluster.put(foreign)
    before = world.cluster.one(kind, name)["metadata"]["resourceVersion"]
    await world.pass_()
    assert world.cluster.one(kind, name)["metadata"]["resourceVersion"] == before
    assert [call[0] for call in world.cluster.calls] == ["apply_status"]
    assert world.conditions["Ready"] == "False/NotOwned"
    assert world.message("Accepted") == (
        f"{kind.kind} team-a/{name} exists and is not controlled by this LLMDeployment; delete or rename "
        "that object, or rename this one"
    )
