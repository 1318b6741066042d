"""Every child in the four rows: absent, equal, drifted, foreign."""

from __future__ import annotations

import pytest

from tertium.api.meta import ObjectKey
from tertium.core import names
from tertium.kube.cluster import CONFIG_MAP, DEPLOYMENT, LEASE, SERVICE, Kind
from tests.factories import FACTS, KEY
from tests.runtime.world import World


async def a_settled_world() -> tuple[World, str]:
    """A world with the model inspected, and the name of its engine's Deployment."""
    world = World()
    await world.settle_inspected()
    return world, world.engine()["metadata"]["name"]


CHILDREN = pytest.mark.parametrize(
    ("kind", "name"),
    [
        pytest.param(LEASE, "qwen-demand", id="the Lease"),
        pytest.param(SERVICE, "qwen-engine", id="the Service"),
        pytest.param(DEPLOYMENT, "", id="the Deployment"),
        pytest.param(CONFIG_MAP, "qwen-model", id="the ConfigMap"),
    ],
)


@CHILDREN
async def test_absent_is_made(kind: Kind, name: str) -> None:
    world, engine = await a_settled_world()
    name = name or engine
    world.cluster.remove(kind, ObjectKey(KEY.namespace, name))
    if kind is CONFIG_MAP:
        await world.settle()
        world.end_inspection({"facts": FACTS})
    await world.settle()
    assert world.cluster.one(kind, name)["metadata"]["ownerReferences"][0]["uid"] == "uid-1"


@CHILDREN
async def test_equal_is_left_alone(kind: Kind, name: str) -> None:
    world, engine = await a_settled_world()
    version = world.cluster.one(kind, name or engine)["metadata"]["resourceVersion"]
    await world.pass_()
    assert world.cluster.one(kind, name or engine)["metadata"]["resourceVersion"] == version


@CHILDREN
async def test_drifted_is_put_right(kind: Kind, name: str) -> None:
    world, engine = await a_settled_world()
    name = name or engine
    live = world.cluster.one(kind, name)
    wanted = {part: live[part] for part in ("spec", "data") if part in live}
    drift = {"data": {"facts.json": live["data"]["facts.json"]}} if kind is CONFIG_MAP else {}
    labels = {**live["metadata"]["labels"], "app.kubernetes.io/name": "changed"}
    world.cluster.put({**live, **drift, "metadata": {**live["metadata"], "labels": labels}})
    outcome = await world.pass_()
    assert outcome.actions == [f"changed {kind.kind} {name}"]
    after = world.cluster.one(kind, name)
    assert {part: after[part] for part in wanted} == wanted
    assert after["metadata"]["labels"]["app.kubernetes.io/name"] == "tertium"


@CHILDREN
async def test_foreign_is_never_touched(kind: Kind, name: str) -> None:
    world = World()
    if kind is DEPLOYMENT:
        # Its name holds the revision, which is known only with the plan.
        settled, name = await a_settled_world()
        world = settled
        world.cluster.remove(DEPLOYMENT, ObjectKey(KEY.namespace, name))
    foreign = {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {"name": name, "namespace": KEY.namespace},
        "spec": {"mine": True},
    }
    world.cluster.put(foreign)
    before = world.cluster.one(kind, name)["metadata"]["resourceVersion"]
    world.cluster.calls.clear()
    await world.pass_()
    assert world.cluster.one(kind, name)["metadata"]["resourceVersion"] == before
    assert [call[0] for call in world.cluster.calls if call[0] != "event"] == ["apply_status"]
    assert world.conditions["Ready"] == "False/NotOwned"
    assert world.message("Accepted") == (
        f"{kind.kind} team-a/{name} exists and is not controlled by this LLMDeployment; delete or rename "
        "that object, or rename this one"
    )


def a_former_deployment(*, owner_uid: str) -> dict[str, object]:
    """The one Deployment of a time before there were revisions."""
    reference = {"kind": "LLMDeployment", "name": KEY.name, "uid": owner_uid, "controller": True}
    container = {"name": "engine", "resources": {"limits": {"nvidia.com/gpu": "1"}}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "qwen-engine",
            "namespace": KEY.namespace,
            "labels": names.labels(KEY, "engine"),
            "ownerReferences": [{"apiVersion": "tertium.dev/v1alpha1", **reference}],
        },
        "spec": {
            "replicas": 0,
            "template": {
                "spec": {"containers": [container], "nodeSelector": {"nvidia.com/gpu.product": "GPU-24GB"}}
            },
        },
    }


async def test_an_empty_former_deployment_is_deleted() -> None:
    world, engine = await a_settled_world()
    world.cluster.put(a_former_deployment(owner_uid="uid-1"))
    assert (await world.pass_()).actions[0] == "deleted Deployment qwen-engine"
    assert world.engine()["metadata"]["name"] == engine


async def test_one_of_somebody_else_with_our_labels_is_not() -> None:
    world, _ = await a_settled_world()
    world.cluster.put(a_former_deployment(owner_uid="uid-of-another"))
    assert (await world.pass_()).actions == []
    assert world.cluster.one(DEPLOYMENT, "qwen-engine")["spec"]["replicas"] == 0
