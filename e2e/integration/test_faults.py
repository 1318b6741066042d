"""The operator through faults of all around it, and its own death: nothing lost, nothing doubled."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from e2e.fleet.api import LEASES, LLMDS, Api, ApiError, path_of
from e2e.fleet.clock import clock_of
from e2e.fleet.gateway import Demand, FakeGateway
from e2e.fleet.model import Model, wait_right
from e2e.fleet.operator import OperatorProcess
from e2e.fleet.plane import Plane
from e2e.fleet.proxy import FaultProxy, at_random, at_write, passes
from e2e.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("gateway")]

MODELS = 6
FREEZE_SECONDS = 30
KILLS = 50


def make(api: Api, namespace: str, count: int = MODELS) -> list[Model]:
    """Deployments that sleep."""
    with ThreadPoolExecutor(count) as pool:
        names = [f"model-{index}" for index in range(count)]
        return list(pool.map(lambda name: Model.make(api, namespace, name), names))


def demand(models: list[Model]) -> Demand:
    return Demand(models[0].api, [(model.namespace, model.name) for model in models])


def answers(api: Api) -> bool:
    """Whether the API server takes requests again."""
    try:
        return api.text("GET", "/readyz") == "ok"
    except (OSError, ApiError):
        return False


def test_wakes_survive_a_restart_of_the_api_server(
    plane: Plane, operator: OperatorProcess, namespace: str
) -> None:
    models = make(plane.api, namespace)
    with demand(models):
        plane.cluster.faults.restart_api_server()
        until("the API server is back", lambda: answers(plane.api), seconds=30)
        wait_right(models, 1, seconds=40)
    assert operator.running


def test_wakes_survive_half_a_minute_without_the_store(
    plane: Plane, operator: OperatorProcess, namespace: str
) -> None:
    models = make(plane.api, namespace)
    with demand(models):
        plane.cluster.faults.freeze_store()
        end = time.monotonic() + FREEZE_SECONDS
        try:
            while time.monotonic() < end:
                time.sleep(1)
                assert operator.health("livez") == 200
        finally:
            plane.cluster.faults.thaw_store()
        until("the API server answers", lambda: answers(plane.api), seconds=30)
        wait_right(models, 1, seconds=60)
    assert operator.running


def test_a_cut_watch_hides_no_demand(plane: Plane, proxy: FaultProxy, namespace: str) -> None:
    operator = plane.operator(server=proxy.url)
    operator.wait_ready()
    models = make(plane.api, namespace)
    for model in models:
        until("the watches run", lambda: proxy.cut_watches() >= 3, seconds=20)
        model.demand()
        model.wait_replicas(1, seconds=10)
    wait_right(models, 1, seconds=15)


def test_wakes_and_sleeps_come_right_while_every_fourth_request_fails(
    plane: Plane, gateway: FakeGateway, proxy: FaultProxy, namespace: str
) -> None:
    proxy.plan = at_random(seed=7, share=0.25)
    plane.operator(server=proxy.url)
    models = [
        Model.apply(plane.api, namespace, f"model-{index}", scaling={"idleSeconds": 1})
        for index in range(MODELS)
    ]
    with demand(models):
        wait_right_through(models, 1, seconds=90)
    for model in models:
        gateway.report(model.key, finished=datetime.now(UTC) - timedelta(hours=1))
    wait_right_through(models, 0, seconds=90)
    assert proxy.injected > 50
    proxy.plan = passes
    wait_right(models, 0, seconds=15)


def test_a_preview_is_deleted_with_all_it_owns_when_its_time_has_come(
    plane: Plane, namespace: str, tmp_path: Path
) -> None:
    offset = tmp_path / "offset"
    offset.write_text("+0")
    plane.operator(environment=clock_of(offset)).wait_ready()
    expires = Model.make(plane.api, namespace, "expires", expireAfterSeconds=600)
    idles = Model.make(plane.api, namespace, "idles", deleteAfterIdleSeconds=900)
    stays = Model.make(plane.api, namespace, "stays", expireAfterSeconds=86_400)
    offset.write_text("+700")
    for model in (expires, idles, stays):
        plane.api.merge(model.path, {"metadata": {"annotations": {"looked-at": "now"}}})
    until("the preview is gone", lambda: names_in(plane, namespace) == {"idles", "stays"}, seconds=15)
    leases = path_of(LEASES, namespace, "leases")
    # The garbage collector learns of a new kind of owner every 30 s.
    until("what it owned too", lambda: plane.api.find(f"{leases}/expires-demand") is None, seconds=60)
    offset.write_text("+1000")
    plane.api.merge(idles.path, {"metadata": {"annotations": {"looked-at": "later"}}})
    until("the idle one is gone", lambda: names_in(plane, namespace) == {"stays"}, seconds=15)


def names_in(plane: Plane, namespace: str) -> set[str]:
    return {item["metadata"]["name"] for item in plane.api.items(path_of(LLMDS, namespace, "llmdeployments"))}


def test_a_clock_that_jumps_and_comes_back_stops_nothing_and_loses_no_wake(
    plane: Plane, gateway: FakeGateway, namespace: str, tmp_path: Path
) -> None:
    offset = tmp_path / "offset"
    offset.write_text("+0")
    plane.operator(environment=clock_of(offset)).wait_ready()
    models = make(plane.api, namespace)
    awake, asleep = models[: MODELS // 2], models[MODELS // 2 :]
    for model in awake:
        gateway.report(model.key, in_flight=1)
        model.wake(lasting=2)
    for jump in ("+3600", "-3600"):
        offset.write_text(jump)
        time.sleep(3)
        assert [model.replicas() for model in awake] == [1] * len(awake), f"stopped by a jump of {jump} s"
    offset.write_text("+0")
    with demand(asleep):
        wait_right(models, 1, seconds=20)


def test_fifty_deaths_in_the_middle_of_scale_ups_leave_every_model_awake_once(
    plane: Plane, proxy: FaultProxy, namespace: str
) -> None:
    rng = random.Random(50)
    nursery = plane.nursery(server=proxy.url)
    models: list[Model] = []
    with Demand(plane.api, []) as demanded:
        for index in range(KILLS):
            operator = plane.fork(nursery)
            count, forward = rng.randint(1, 9), rng.random() < 0.5
            proxy.plan = at_write(count, operator.kill, within=f"/namespaces/{namespace}/", forward=forward)
            models.append(Model.apply(plane.api, namespace, f"model-{index}"))
            demanded.add(namespace, f"model-{index}")
            operator.wait_end(seconds=60)
        proxy.plan = passes
        plane.fork(nursery)
        wait_right(models, 1, seconds=60)


def wait_right_through(models: list[Model], replicas: int, *, seconds: float) -> None:
    """Wait until all are whole, without asking for a status that rests."""

    def probe() -> bool:
        for model in models:
            model.check(replicas)
        return True

    until(f"{len(models)} models with {replicas} replicas each", probe, seconds=seconds, every=0.5)
