"""The whole pass on a cluster in memory: it converges, it stays, it survives being cut anywhere."""

from __future__ import annotations

import pytest

from tertium.api.load import LoadReport, ModelLoad
from tertium.api.meta import ObjectKey
from tertium.core.demand import claim_key, claim_text
from tertium.core.errors import Retryable
from tertium.core.load import Received, Reports
from tertium.kube.cluster import CONFIG_MAP, JOB, LLM_DEPLOYMENT
from tertium.runtime.controller import Controller
from tertium.runtime.relist import relist
from tests.factories import FACTS, KEY, NOW, POLICY, a_manifest, at, seconds
from tests.runtime.world import World, failing_on

RUNNING = {
    "phase": "Running",
    "conditions": [
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": at(-55)},
        {"type": "Ready", "status": "True", "lastTransitionTime": at(-40)},
    ],
    "containerStatuses": [{"name": "engine", "state": {"running": {"startedAt": at(-50)}}}],
}
CRASHED = {
    "phase": "Running",
    "conditions": [
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": at(-55)},
        {"type": "Ready", "status": "False", "lastTransitionTime": at(-55)},
    ],
    "containerStatuses": [
        {
            "name": "engine",
            "state": {"terminated": {"exitCode": 1, "startedAt": at(-50), "finishedAt": at(-1)}},
        }
    ],
}
SHORT_IDLE = {"scaling": {"idleSeconds": 30, "maxReplicas": 3}}


def reports(in_flight: int, quiet_for: float) -> Reports:
    load = ModelLoad(in_flight=in_flight, held=0, last_finished=NOW - seconds(quiet_for))
    report = LoadReport(since=NOW - seconds(500), models={str(KEY): load})
    return Reports(by_pod={"gateway-1": Received(report=report, at=NOW)}, expected=1)


async def test_a_new_deployment_is_inspected_then_planned_then_asleep() -> None:
    world = World()
    first = await world.pass_()
    assert first.actions == [
        "created Lease qwen-demand",
        "created Service qwen-engine",
        f"created Job {world.inspection()}",
        "wrote status",
    ]
    assert world.conditions["Planned"] == "Unknown/Inspecting"

    world.end_inspection({"facts": FACTS})
    second = await world.pass_()
    assert second.actions == [
        "created ConfigMap qwen-model",
        f"created Deployment {world.engine()['metadata']['name']}",
        f"deleted Job {world.inspection()}",
        "wrote status",
    ]
    assert world.replicas == 0
    assert world.conditions == {
        "Accepted": "True/Valid",
        "Planned": "True/Unverified",
        "WeightsReady": "True/InVolume",
        "Progressing": "False/Stable",
        "Active": "False/Idle",
        "Ready": "True/Ready",
        "Reconciling": "False/Stable",
        "Stalled": "False/Stable",
    }


async def test_a_second_pass_writes_nothing_even_by_an_operator_that_was_restarted() -> None:
    world = World()
    await world.settle_inspected()
    before = list(world.cluster.calls)
    restarted = World()
    restarted.cluster = world.cluster
    restarted.controller = Controller(
        world.cluster,
        restarted.store,
        restarted.queue,
        POLICY,
        world.clock,
        metrics=world.controller._metrics,
    )
    outcome = await restarted.pass_()
    assert (outcome.actions, world.cluster.calls) == ([], before)


async def test_demand_wakes_without_reading_the_cluster() -> None:
    world = World()
    await world.settle_inspected()
    await world.demand()
    await relist(world.cluster, world.store)
    calls: list[str] = []
    world.cluster.fail = lambda verb, kind, name: calls.append(f"{verb} {kind}")
    outcome = await world.controller.reconcile(KEY)
    assert outcome is not None
    assert outcome.actions[0] == f"scaled Deployment {world.engine()['metadata']['name']} 0 -> 1"
    assert calls == ["apply Deployment", "apply_status LLMDeployment"]
    assert world.conditions["Active"] == "Unknown/Waking"


async def test_it_serves_then_sleeps_when_nobody_asks() -> None:
    world = World(SHORT_IDLE)
    await world.settle_inspected()
    await world.demand()
    await world.settle()
    world.put_pod(RUNNING)
    world.clock.advance(16)
    await world.settle()
    assert (world.conditions["Active"], world.replicas) == ("True/Serving", 1)

    world.clock.time = NOW
    world.store.reports = reports(in_flight=9, quiet_for=0)
    await world.demand_ends()
    await world.settle()
    assert world.replicas == 3

    world.store.reports = reports(in_flight=0, quiet_for=31)
    await world.settle()
    assert world.replicas == 0
    world.remove_pod()
    await world.settle()
    assert world.conditions["Active"] == "False/Idle"


async def test_a_wake_is_cancelled_when_nobody_waits_any_more_unless_it_has_a_gpu() -> None:
    world = World(SHORT_IDLE)
    await world.settle_inspected()
    await world.demand()
    await world.settle()
    unschedulable = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "none"}
    world.put_pod({"phase": "Pending", "conditions": [unschedulable]})
    await world.settle()
    assert world.replicas == 1

    await world.demand_ends()
    await world.settle()
    assert (world.replicas, world.conditions["Active"]) == (0, "False/Idle")

    await world.demand()
    await world.settle()
    scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": at(0)}
    world.put_pod({"phase": "Pending", "conditions": [scheduled]})
    await world.settle()
    await world.demand_ends()
    await world.settle()
    assert world.replicas == 1


async def test_demand_counts_whatever_time_a_gateway_pod_s_clock_shows() -> None:
    world = World()
    await world.settle_inspected()
    late = {claim_key("gateway-1"): claim_text(NOW - seconds(3600), 15)}
    await world.cluster.renew_lease(ObjectKey(KEY.namespace, "qwen-demand"), late)
    await world.settle()
    assert world.replicas == 1


async def test_a_failed_start_frees_its_gpus_and_keeps_the_engines_words() -> None:
    world = World()
    await world.settle_inspected()
    await world.demand()
    await world.settle()
    world.cluster.logs[("qwen-engine-1", "engine")] = "ValueError: max_model_len is too long\n"
    world.put_pod(CRASHED)
    outcome = await world.pass_()
    # Asked again when the demand ends, long before the rest does.
    assert (world.replicas, outcome.requeue_after) == (0, 15.0)
    words = "The engine ended with exit code 1: ValueError: max_model_len is too long"
    assert (world.conditions["Active"], world.message("Active")) == ("False/StartFailed", words)

    world.remove_pod()
    world.clock.advance(59)
    await world.demand()
    await world.settle()
    assert (world.replicas, world.message("Active")) == (0, words)
    world.clock.advance(1)
    await world.demand()
    await world.settle()
    assert (world.replicas, world.conditions["Active"]) == (1, "Unknown/Waking")


async def test_a_log_that_cannot_be_read_keeps_no_gpu() -> None:
    world = World()
    await world.settle_inspected()
    await world.demand()
    await world.settle()
    world.put_pod(CRASHED)
    world.cluster.fail = failing_on("log", "Pod")
    await world.pass_()
    assert (world.replicas, world.message("Active")) == (
        0,
        "The engine ended with exit code 1 and said nothing",
    )


async def test_a_volume_that_can_never_come_is_a_failed_start_after_ten_seconds() -> None:
    world = World()
    await world.settle_inspected()
    await world.demand()
    await world.settle()
    words = world.delay_volume('secret "hf" not found')
    await world.settle()
    assert (await world.pass_()).requeue_after == 10.0
    assert world.replicas == 1
    world.clock.advance(10)
    await world.settle()
    assert (world.replicas, world.conditions["Active"]) == (0, "False/StartFailed")
    assert world.message("Active") == words


async def test_a_volume_that_may_still_come_is_told_and_waited_for() -> None:
    world = World()
    await world.settle_inspected()
    await world.demand()
    await world.settle()
    words = world.delay_volume("mount.nfs: Connection timed out")
    world.clock.advance(10)
    await world.demand()
    await world.settle()
    assert (await world.pass_()).requeue_after == 15.0
    assert world.replicas == 1
    assert words in world.message("Progressing")
    world.cluster.fail = failing_on("list", "Event")
    await world.settle()
    assert world.replicas == 1


async def test_an_inspection_that_waits_for_its_volume_says_so() -> None:
    world = World()
    await world.settle()
    words = world.delay_volume("Multi-Attach error: used by another pod", of_inspection=True)
    assert (await world.pass_()).requeue_after == 10.0
    world.clock.advance(10)
    await world.settle()
    assert world.message("Planned").endswith(f"from pvc://models/qwen: {words}")
    assert (await world.pass_()).requeue_after == 15.0


async def test_an_evicted_pod_is_no_replica() -> None:
    world = World()
    await world.settle_inspected()
    world.put_pod({"phase": "Failed", "reason": "Evicted"})
    await world.settle()
    assert world.cluster.one(LLM_DEPLOYMENT, KEY.name)["status"]["replicas"] == 0


async def test_an_inspection_whose_log_cannot_be_read_is_said_then_run_again() -> None:
    world = World()
    await world.settle()
    world.end_inspection({"facts": FACTS})
    world.cluster.fail = failing_on("log", "Pod")
    with pytest.raises(Retryable):
        await world.pass_()
    world.clock.advance(10)
    await world.pass_()
    assert world.message("Planned").startswith("The inspection has ended, but its log cannot be read: ")
    world.clock.advance(50)
    assert (await world.pass_()).actions == [f"deleted Job {world.inspection()}"]


async def test_a_missing_model_is_said_and_tried_again_after_a_minute() -> None:
    world = World()
    await world.settle()
    error = {"error": {"reason": "ModelNotFound", "message": "pvc://models/qwen: there is no folder qwen"}}
    world.end_inspection(error, ended="Failed")
    outcome = await world.pass_()
    assert world.conditions["Planned"] == "False/ModelNotFound"
    assert world.message("Ready") == "pvc://models/qwen: there is no folder qwen"
    assert outcome.requeue_after == 60.0

    world.clock.advance(60)
    retry = await world.pass_()
    assert retry.actions == [f"deleted Job {world.inspection()}"]
    again = await world.pass_()
    assert again.actions[0] == f"created Job {world.inspection()}"


async def test_another_source_is_inspected_at_once_and_the_old_job_goes() -> None:
    world = World()
    await world.settle()
    old = world.inspection()
    world.edit({"model": {"source": "pvc://models/other"}})
    await world.settle()
    jobs = [name for kind, name in ((kind, key.name) for kind, key in world.cluster.objects) if kind == "Job"]
    assert jobs == [world.inspection()] != [old]


async def test_a_model_that_cannot_be_sized_says_so_and_is_not_inspected_for_ever() -> None:
    world = World()
    await world.settle()
    world.end_inspection({"facts": {**FACTS, "config": {"model_type": "odd"}}})
    await world.settle()
    assert world.conditions["Planned"].startswith("False/")
    assert (CONFIG_MAP.kind, ObjectKey(KEY.namespace, "qwen-model")) in world.cluster.objects
    assert not any(kind == "Job" for kind, _ in world.cluster.objects)


async def test_a_scaled_deployment_is_put_back() -> None:
    world = World()
    await world.settle_inspected()
    world.set_replicas(2)
    world.edit({"replicas": 0})
    await world.settle()
    assert world.replicas == 0


async def test_a_dropped_environment_variable_is_dropped_from_the_pods() -> None:
    world = World({"engine": {"env": [{"name": "A", "value": "1"}]}})
    await world.settle_inspected()
    world.edit({"engine": {}})
    await world.settle()
    (engine,) = world.engine()["spec"]["template"]["spec"]["containers"]
    assert "env" not in engine


async def test_children_of_a_deleted_namesake_are_waited_for() -> None:
    world = World()
    await world.settle_inspected()
    world.cluster.remove(LLM_DEPLOYMENT, KEY)
    world.cluster.put(a_manifest(uid="uid-2"))
    with pytest.raises(Retryable) as waited:
        await world.pass_()
    assert str(waited.value) == (
        "Lease team-a/qwen-demand belongs to an earlier LLMDeployment of this name and is being deleted"
    )


async def test_a_deployment_that_goes_is_forgotten() -> None:
    world = World()
    await world.settle_inspected()
    calls = list(world.cluster.calls)
    world.cluster.remove(LLM_DEPLOYMENT, KEY)
    await relist(world.cluster, world.store)
    assert await world.controller.reconcile(KEY) is None
    assert world.cluster.calls == calls


async def test_a_spec_that_is_not_understood_is_refused_and_what_runs_is_reported() -> None:
    world = World()
    await world.settle_inspected()
    world.set_replicas(1)
    world.put_pod(RUNNING)
    world.edit({"engine": {"args": ["--port=1"]}})
    await world.settle()
    assert (world.conditions["Accepted"], world.conditions["Active"]) == ("False/Invalid", "True/Serving")
    assert world.replicas == 1


def events(world: World) -> list[tuple[str, str, str]]:
    return [
        (event["type"], event["reason"], event["message"])
        for (kind, _), event in world.cluster.objects.items()
        if kind == "Event"
    ]


async def test_what_has_changed_is_told_as_an_event_of_the_object_and_once() -> None:
    world = World()
    await world.settle_inspected()
    await world.demand()
    await world.settle()
    world.put_pod(RUNNING)
    await world.settle()
    woke = ("Normal", "Woke", "A replica answers requests")
    assert events(world).count(woke) == 1
    (event,) = (live for (kind, _), live in world.cluster.objects.items() if kind == "Event")
    assert event["involvedObject"]["uid"] == "uid-1"
    before = list(world.cluster.calls)
    await world.pass_()
    assert world.cluster.calls == before


async def test_an_event_that_cannot_be_written_holds_nothing_up(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    await world.settle_inspected()
    world.edit({"engine": {"args": ["--port=1"]}})
    world.cluster.fail = failing_on("event", "Event")
    outcome = await world.pass_()
    assert outcome.actions == ("wrote status",)
    assert "an event was not written" in caplog.text


async def test_a_preview_is_deleted_when_its_time_is_over_and_says_so() -> None:
    world = World({"expireAfterSeconds": 3600})
    world.cluster.one(LLM_DEPLOYMENT, KEY.name)["metadata"]["creationTimestamp"] = at(-3000)
    await world.settle_inspected()
    world.clock.advance(601)
    outcome = await world.pass_()
    assert outcome.actions == ("deleted itself",)
    assert (LLM_DEPLOYMENT.kind, KEY) not in world.cluster.objects
    assert [reason for _, reason, _ in events(world)] == ["Expired"]


async def test_a_preview_that_was_prolonged_a_moment_ago_is_not_deleted() -> None:
    world = World({"expireAfterSeconds": 3600})
    world.cluster.one(LLM_DEPLOYMENT, KEY.name)["metadata"]["creationTimestamp"] = at(-3000)
    await world.settle_inspected()
    world.clock.advance(601)
    await relist(world.cluster, world.store)
    world.edit({"expireAfterSeconds": 7200})
    with pytest.raises(Retryable, match="delete LLMDeployment team-a/qwen: the API server answered 409"):
        await world.controller.reconcile(KEY)
    assert (LLM_DEPLOYMENT.kind, KEY) in world.cluster.objects
    assert events(world) == []


async def test_of_two_that_claim_a_name_the_younger_is_told() -> None:
    world = World()
    other = a_manifest(
        {"model": {"source": "pvc://m", "servedName": "qwen"}}, key=ObjectKey("b", "old"), uid="o"
    )
    other["metadata"]["creationTimestamp"] = at(-90000)
    world.cluster.put(other)
    await world.settle_inspected()
    assert world.conditions["Accepted"] == "True/NameTaken"
    world.cluster.remove(LLM_DEPLOYMENT, ObjectKey("b", "old"))
    await world.settle()
    assert world.conditions["Accepted"] == "True/Valid"


async def test_the_status_is_written_even_when_a_write_fails() -> None:
    world = World()
    world.cluster.fail = failing_on("apply", "Service")
    with pytest.raises(Retryable):
        await world.pass_()
    assert world.conditions["Planned"] == "Unknown/Inspecting"


@pytest.mark.parametrize("cut", range(12))
async def test_cut_after_any_write_it_still_converges(cut: int) -> None:
    world = World()
    left = [cut]

    def stop(verb: str, kind: str, name: str) -> None:
        if verb in ("apply", "apply_status", "delete"):
            left[0] -= 1
            if left[0] == -1:
                raise Retryable("cut")

    world.cluster.fail = stop
    for _ in range(20):
        try:
            await world.pass_()
        except Retryable:
            continue
        job = (JOB.kind, ObjectKey(KEY.namespace, world.inspection()))
        if job in world.cluster.objects and "status" not in world.cluster.objects[job]:
            world.end_inspection({"facts": FACTS})
    await world.settle()
    assert (world.replicas, world.conditions["Ready"]) == (0, "True/Ready")
    assert not any(kind == "Job" for kind, _ in world.cluster.objects)
