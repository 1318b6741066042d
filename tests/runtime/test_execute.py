"""What is written, in which order, and what is not."""

from __future__ import annotations

from typing import Any

import pytest

from tertium.api.meta import ObjectKey
from tertium.core import names
from tertium.core.errors import Retryable
from tertium.core.observed import Identity
from tertium.kube.cluster import DEPLOYMENT, POD
from tertium.render import Desired, Rescaled
from tertium.render.deployment import build_deployment
from tertium.runtime.execute import execute, is_as_wanted
from tertium.runtime.relist import relist
from tertium.runtime.store import Store
from tests.factories import KEY, a_blueprint, a_manifest, a_pod_manifest, an_owner
from tests.fakes.cluster import FakeCluster
from tests.runtime.world import failing_on

OWNER = Identity.parse(a_manifest())
NEW = a_blueprint({"engine": {"args": ["--seed=1"]}})
OLD = a_blueprint()


def an_object(content: dict[str, Any], digest: str = "d") -> dict[str, Any]:
    return {"metadata": {"annotations": {names.APPLIED_ANNOTATION: digest}}, "spec": content}


@pytest.mark.parametrize(
    ("live", "wanted", "equal"),
    [
        pytest.param(an_object({"a": 1}), an_object({"a": 1}), True, id="equal"),
        pytest.param(an_object({"a": 1, "b": 2}), an_object({"a": 1}), True, id="more than we set"),
        pytest.param(an_object({"a": 2}), an_object({"a": 1}), False, id="drifted"),
        pytest.param(an_object({"a": 1}, "other"), an_object({"a": 1}), False, id="applied by other words"),
        pytest.param(an_object({}), an_object({"a": 1}), False, id="removed by somebody"),
        pytest.param(an_object({}), an_object({"a": False, "b": {}, "c": ""}), True, id="empty is left out"),
        pytest.param(an_object({"a": True}), an_object({"a": False}), False, id="but not turned round"),
        pytest.param(an_object({"a": [1, 2]}), an_object({"a": [1]}), False, id="a list that grew"),
    ],
)
def test_what_counts_as_wanted(live: dict[str, Any], wanted: dict[str, Any], equal: bool) -> None:
    assert is_as_wanted(live, wanted) is equal


async def a_world(*, old: int, new: int) -> tuple[FakeCluster, Store]:
    """A cluster with two revisions and a pod of the older one, all of it seen."""
    cluster, store = FakeCluster(), Store()
    cluster.put(a_manifest())
    for blueprint, replicas in ((OLD, old), (NEW, new)):
        await cluster.apply(DEPLOYMENT, build_deployment(OWNER, blueprint, replicas=replicas))
    cluster.put(a_pod_manifest("p", labels={names.REVISION_LABEL: OLD.revision}))
    await relist(cluster, store)
    cluster.calls.clear()
    return cluster, store


def live(store: Store, revision: str) -> Any:
    return store.children(KEY)[("Deployment", names.engine_revision(KEY, revision))]


async def test_counts_go_down_before_anything_is_applied_and_a_price_is_written_before_that() -> None:
    cluster, store = await a_world(old=2, new=1)
    down = Rescaled(live=live(store, OLD.revision), replicas=1)
    grown = build_deployment(an_owner({"engine": {"args": ["--seed=1"]}}).identity, NEW, replicas=2)
    done = await execute(
        cluster, store, OWNER, Desired(apply=(grown,), rescale=(down,), costs={"p": -1, "gone": 0})
    )
    assert [call[:2] for call in cluster.calls] == [
        ("annotate", "Pod"),
        ("scale", "Deployment"),
        ("apply", "Deployment"),
    ]
    assert done == [
        "priced Pod p -1",
        f"scaled Deployment qwen-engine-{OLD.revision} 2 -> 1",
        f"scaled Deployment qwen-engine-{NEW.revision} 1 -> 2",
    ]
    pod = cluster.one(POD, "p")
    assert pod["metadata"]["annotations"] == {"controller.kubernetes.io/pod-deletion-cost": "-1"}


async def test_a_former_revision_grows_after_the_wanted_one_has_shrunk() -> None:
    cluster, store = await a_world(old=0, new=1)
    up = Rescaled(live=live(store, OLD.revision), replicas=1)
    shrunk = build_deployment(OWNER, NEW, replicas=0)
    await execute(cluster, store, OWNER, Desired(apply=(shrunk,), rescale=(up,)))
    assert [call[0] for call in cluster.calls] == ["apply", "scale"]


async def test_what_was_written_is_known_at_once() -> None:
    cluster, store = await a_world(old=2, new=0)
    down = Desired(apply=(), rescale=(Rescaled(live=live(store, OLD.revision), replicas=1),), costs={"p": -1})
    await execute(cluster, store, OWNER, down)
    assert live(store, OLD.revision)["spec"]["replicas"] == 1
    cluster.calls.clear()
    await execute(cluster, store, OWNER, Desired(apply=(), costs={"p": -1}))
    assert cluster.calls == []


async def test_a_price_that_nobody_wrote_is_zero() -> None:
    cluster, store = await a_world(old=2, new=0)
    await execute(cluster, store, OWNER, Desired(apply=(), costs={"p": 0}))
    assert cluster.calls == []


async def test_a_deployment_that_was_made_anew_by_somebody_is_not_scaled() -> None:
    cluster, store = await a_world(old=2, new=0)
    before = live(store, OLD.revision)
    key = ObjectKey.of(before)
    cluster.remove(DEPLOYMENT, key)
    cluster.put({**before, "metadata": {**before["metadata"], "uid": "another"}})
    with pytest.raises(Retryable):
        await execute(cluster, store, OWNER, Desired(apply=(), rescale=(Rescaled(live=before, replicas=0),)))
    assert cluster.objects[("Deployment", key)]["spec"]["replicas"] == 2


async def test_it_stops_at_the_first_fault() -> None:
    cluster, store = await a_world(old=2, new=1)
    cluster.fail = failing_on("scale", "Deployment")
    down = Rescaled(live=live(store, OLD.revision), replicas=1)
    grown = build_deployment(OWNER, NEW, replicas=2)
    with pytest.raises(Retryable):
        await execute(cluster, store, OWNER, Desired(apply=(grown,), rescale=(down,)))
    assert cluster.calls == []
