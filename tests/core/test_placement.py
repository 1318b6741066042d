"""Which GPUs replicas ask for: what runs is kept, what cannot be had is passed over for a while."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from tertium.api.conditions import ConditionType, Reason
from tertium.api.meta import Condition
from tertium.api.v1alpha1 import LLMDeploymentStatus, Placement, RolloutStatus
from tertium.core.blueprint import Blueprint
from tertium.core.lifecycle import EnginePod
from tertium.core.observed import EngineSet, Observed
from tertium.core.placement import Placed, place
from tertium.core.plan import NoSizing, Sized
from tertium.core.planner import GpuPool
from tests.factories import (
    NOW,
    POLICY,
    a_blueprint,
    a_pod,
    an_engine_set,
    an_owner,
    at,
    observed,
    seconds,
)

A, B, C = "GPU-A", "GPU-B", "GPU-C"
POOLS = tuple(
    GpuPool(product=product, memory_mebibytes=memory, gpus_per_node=4)
    for product, memory in ((A, 24_000), (B, 40_000), (C, 80_000))
)
LISTED = {"accelerators": [{"product": B}, {"product": A, "spot": True}, {"product": C}]}
NO_GPUS = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."


def gave_up(product: str, offset: float, spot: bool | None = None) -> Placement:
    return Placement(accelerator=product, spot=spot, gave_up_at=at(offset), message=NO_GPUS)


def on(product: str, spec: dict[str, Any], *, spot: bool | None = None) -> Blueprint:
    """What pods of `spec` are made of on one product."""
    alone = tuple(pool for pool in POOLS if pool.product == product)
    entry = {"accelerators": [{"product": product, **({} if spot is None else {"spot": spot})}]}
    return replace(a_blueprint(entry, pools=alone), spec=an_owner(spec).spec)


def made(blueprint: Blueprint, replicas: int = 1, **fields: Any) -> EngineSet:
    return an_engine_set(of=blueprint, replicas=replicas, **fields)


def waiting(blueprint: Blueprint, since: float, **fields: Any) -> EnginePod:
    """A pod that nothing has room for."""
    created = NOW - seconds(since)
    pod = a_pod(revision=blueprint.revision, unschedulable=True, waits_for=NO_GPUS, created=created)
    return replace(pod, **{"scheduled": None, "started": None, **fields})


def a_world(*engines: EngineSet, pods: tuple[EnginePod, ...] = (), **fields: Any) -> Observed:
    return replace(observed(pools=POOLS, pods=pods, **fields), engines=engines)


def a_status(*placements: Placement, plan_of: Blueprint | None = None) -> LLMDeploymentStatus:
    status = LLMDeploymentStatus(placements=placements)
    if plan_of is None:
        return status
    planned = Condition(
        type=ConditionType.PLANNED, status="True", reason=Reason.TIGHT, last_transition_time=at(-99)
    )
    return status.model_copy(
        update={
            "plan": plan_of.plan,
            "rollout": RolloutStatus(revision=plan_of.revision),
            "conditions": (planned,),
        }
    )


def placed(
    spec: dict[str, Any], world: Observed, status: LLMDeploymentStatus | None = None, now: datetime = NOW
) -> Placed:
    return place(an_owner(spec, status=status), world, POLICY, now)


def product_of(found: Placed) -> str:
    assert isinstance(found.sizing, Sized), found
    return found.sizing.plan.accelerator


def given_up(found: Placed) -> list[str]:
    return [record.accelerator for record in found.placements]


@pytest.mark.parametrize(
    ("spec", "world", "status", "product", "rests"),
    [
        pytest.param({}, a_world(), None, A, [], id="any GPU: the smallest that holds the model"),
        pytest.param(LISTED, a_world(), None, B, [], id="a list: its first entry"),
        pytest.param(
            LISTED,
            a_world(made(on(B, LISTED)), pods=(waiting(on(B, LISTED), 59),)),
            None,
            B,
            [],
            id="a pod is let wait for placementSeconds",
        ),
        pytest.param(
            LISTED,
            a_world(made(on(B, LISTED)), pods=(waiting(on(B, LISTED), 60),)),
            None,
            A,
            [B],
            id="then the next entry is tried",
        ),
        pytest.param(
            {},
            a_world(made(on(A, {})), pods=(waiting(on(A, {}), 60),)),
            None,
            B,
            [A],
            id="without a list the next larger product is tried",
        ),
        pytest.param(
            LISTED,
            a_world(made(on(A, LISTED, spot=True)), pods=(waiting(on(A, LISTED, spot=True), 60),)),
            a_status(gave_up(B, -60)),
            C,
            [B, A],
            id="and the one after it",
        ),
        pytest.param(
            LISTED,
            a_world(made(on(C, LISTED)), pods=(waiting(on(C, LISTED), 300),)),
            a_status(gave_up(B, -120), gave_up(A, -60, spot=True)),
            C,
            [B, A],
            id="the last one is waited for",
        ),
        pytest.param(
            LISTED,
            a_world(made(on(C, LISTED)), pods=(waiting(on(C, LISTED), 480),)),
            a_status(gave_up(B, -600), gave_up(A, -540, spot=True)),
            B,
            [A, C],
            id="until the first one has rested",
        ),
        pytest.param(
            LISTED,
            a_world(),
            a_status(gave_up(B, -9), gave_up(A, -8, spot=True), gave_up(C, -7)),
            B,
            [B, A, C],
            id="when all rest, the one whose rest ends first",
        ),
        pytest.param(
            LISTED,
            a_world(made(on(C, LISTED)), pods=(a_pod(revision=on(C, LISTED).revision),)),
            a_status(gave_up(B, -700)),
            C,
            [],
            id="a replica on its node stays where it is",
        ),
        pytest.param(
            LISTED,
            a_world(
                made(on(C, LISTED), 2),
                pods=(a_pod("a", revision=on(C, LISTED).revision), waiting(on(C, LISTED), 99)),
            ),
            None,
            C,
            [],
            id="and a further replica joins it",
        ),
        pytest.param(
            {**LISTED, "engine": {"args": ["--seed=1"]}},
            a_world(made(on(C, LISTED)), pods=(a_pod(revision=on(C, LISTED).revision),)),
            None,
            B,
            [],
            id="a changed spec goes back to the preferred one",
        ),
        pytest.param(
            {"accelerators": [{"product": A}]},
            a_world(made(on(C, LISTED)), pods=(a_pod(revision=on(C, LISTED).revision),)),
            None,
            A,
            [],
            id="an entry that is taken from the list is left",
        ),
        pytest.param(
            LISTED,
            a_world(
                made(on(B, LISTED)),
                pods=(
                    waiting(on(B, LISTED), 99),
                    a_pod("old", revision="old", terminating=True, leaves_by=NOW + seconds(9)),
                ),
            ),
            None,
            B,
            [],
            id="a pod waits as long as a former replica is about to free its GPUs",
        ),
        pytest.param(
            LISTED,
            a_world(made(on(B, LISTED), 0), pods=(waiting(on(B, LISTED), 99, terminating=True),)),
            None,
            B,
            [],
            id="a pod that is being deleted has not waited in vain",
        ),
    ],
)
def test_the_choice(
    spec: dict[str, Any],
    world: Observed,
    status: LLMDeploymentStatus | None,
    product: str,
    rests: list[str],
) -> None:
    found = placed(spec, world, status)
    assert (product_of(found), given_up(found)) == (product, rests)


def test_a_single_choice_is_never_given_up() -> None:
    spec = {"accelerators": [{"product": B}]}
    found = placed(spec, a_world(made(on(B, spec)), pods=(waiting(on(B, spec), 9999),)))
    assert (product_of(found), given_up(found), found.requeue_after) == (B, [], None)


def test_giving_up_is_remembered_with_the_schedulers_words() -> None:
    found = placed(LISTED, a_world(made(on(B, LISTED)), pods=(waiting(on(B, LISTED), 60),)))
    assert found.placements == (gave_up(B, 0),)
    assert found.blueprint is not None
    assert found.blueprint.spot is True


def test_it_is_asked_again_when_the_patience_ends_and_when_a_rest_does() -> None:
    patient = placed(LISTED, a_world(made(on(B, LISTED)), pods=(waiting(on(B, LISTED), 20),)))
    last = placed(
        LISTED,
        a_world(made(on(C, LISTED)), pods=(waiting(on(C, LISTED), 300),)),
        a_status(gave_up(B, -120), gave_up(A, -60, spot=True)),
    )
    assert (patient.requeue_after, last.requeue_after) == (40.0, 480.0)


def test_what_runs_keeps_its_revision_though_it_would_be_made_differently_now() -> None:
    older = replace(on(B, LISTED), image="engine:0")
    found = placed(LISTED, a_world(made(older), pods=(a_pod(revision=older.revision),)))
    assert (found.revision, found.blueprint) == (older.revision, None)


def test_at_zero_it_is_made_as_it_would_be_now() -> None:
    older = replace(on(B, LISTED), image="engine:0")
    found = placed(LISTED, a_world(made(older, 0)))
    assert found.blueprint is not None
    assert found.revision == found.blueprint.revision == on(B, LISTED).revision != older.revision


def test_the_plan_of_what_runs_is_remembered_not_computed() -> None:
    running = on(B, LISTED)
    plan = running.plan.model_copy(update={"why": "as it was"})
    wise = replace(running, plan=plan)
    world = a_world(made(running), pods=(a_pod(revision=running.revision),))
    found = placed(LISTED, world, a_status(plan_of=wise))
    assert found.sizing == Sized(plan=plan, reason=Reason.TIGHT)


@pytest.mark.parametrize(
    ("spec", "pools", "expected"),
    [
        pytest.param({}, (), A, id="any GPU: nothing else is left"),
        pytest.param({}, POOLS[2:], C, id="any GPU: something else is left"),
        pytest.param(LISTED, (), B, id="a list: nothing else is left"),
        pytest.param(LISTED, POOLS[2:], B, id="a list: only a later entry is left"),
    ],
)
def test_gpus_whose_nodes_were_taken_away_while_it_slept_can_still_be_asked_for(
    spec: dict[str, Any], pools: tuple[GpuPool, ...], expected: str
) -> None:
    last = on(B if spec else A, spec)
    world = replace(a_world(made(last, 0)), pools=pools)
    assert product_of(placed(spec, world, a_status(plan_of=last))) == expected


@pytest.mark.parametrize(
    ("spec", "status"),
    [
        pytest.param(LISTED, None, id="no plan was ever made"),
        pytest.param(
            {**LISTED, "capacity": {"contextTokens": 1024}},
            a_status(plan_of=on(B, LISTED)),
            id="the plan was made for another capacity",
        ),
    ],
)
def test_otherwise_a_cluster_without_gpus_has_no_plan(
    spec: dict[str, Any], status: LLMDeploymentStatus | None
) -> None:
    found = placed(spec, replace(a_world(made(on(B, LISTED), 0)), pools=()), status)
    assert isinstance(found.sizing, NoSizing)
    assert (found.sizing.reason, found.revision) == (Reason.NO_ACCELERATOR, "")


def test_the_memory_of_what_could_not_be_had_outlives_a_new_look_at_the_model() -> None:
    world = replace(a_world(), facts=None)
    found = placed(LISTED, world, a_status(gave_up(B, -9)))
    assert isinstance(found.sizing, NoSizing)
    assert given_up(found) == [B]


def test_a_node_that_joins_moves_no_running_replica() -> None:
    running = on(B, {})
    world = a_world(made(running), pods=(a_pod(revision=running.revision),))
    assert product_of(placed({}, world)) == B
    assert product_of(placed({}, a_world(made(running, 0)))) == A
