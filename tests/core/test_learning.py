"""What is learned from starts: the table of repairs, and the memory of what was measured."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertium.api.v1alpha1 import LLMDeploymentStatus, RolloutStatus
from tertium.core.decide import decide
from tertium.core.diagnosis import Diagnosis, Fault
from tertium.core.failure import StartFailure
from tertium.core.learned import NOTHING, Learned
from tertium.core.learning import Run, drift_words, learn, next_repair, unmeasured
from tertium.core.lifecycle import EnginePod
from tertium.core.planner import Measured, Repair
from tests.factories import NOW, POLICY, a_blueprint, a_pod, an_engine_set, an_owner, observed, seconds

RUN = Run(gpus=2, max_num_seqs=1024)


def fault(kind: Fault, *, blocks: int | None = None) -> Diagnosis:
    return Diagnosis(kind=kind, sentence="", blocks=blocks)


MANY, LONG = fault(Fault.TOO_MANY_SEQUENCES, blocks=614), fault(Fault.SEQUENCE_TOO_LONG)
NONE_LEFT, OUT = fault(Fault.NO_CACHE_BLOCKS), fault(Fault.OUT_OF_MEMORY)


@pytest.mark.parametrize(
    ("before", "seen", "run", "after"),
    [
        pytest.param(
            Repair(),
            MANY,
            RUN,
            Repair(max_num_seqs=614),
            id="too many sequences: as many as blocks",
        ),
        pytest.param(
            Repair(max_num_seqs=614),
            MANY,
            RUN,
            Repair(max_num_seqs=614, least_gpus=3),
            id="too many sequences again: more GPUs",
        ),
        pytest.param(
            Repair(),
            fault(Fault.TOO_MANY_SEQUENCES),
            RUN,
            Repair(least_gpus=3),
            id="too many sequences, and nobody says how many there may be: more GPUs",
        ),
        pytest.param(Repair(), LONG, RUN, Repair(least_gpus=3), id="one sequence does not fit: more GPUs"),
        pytest.param(Repair(least_gpus=3), LONG, RUN, None, id="one sequence still does not fit: told"),
        pytest.param(
            Repair(), NONE_LEFT, RUN, Repair(max_num_seqs=512), id="nothing left for the cache: half as many"
        ),
        pytest.param(
            Repair(max_num_seqs=512),
            NONE_LEFT,
            RUN,
            Repair(max_num_seqs=512, least_gpus=3),
            id="still nothing left: more GPUs",
        ),
        pytest.param(
            Repair(max_num_seqs=512),
            OUT,
            RUN,
            Repair(max_num_seqs=512, enforce_eager=True),
            id="out of memory with half the sequences: no CUDA graphs",
        ),
        pytest.param(
            Repair(max_num_seqs=512, enforce_eager=True),
            OUT,
            RUN,
            Repair(max_num_seqs=512, enforce_eager=True, least_gpus=3),
            id="out of memory without graphs: more GPUs",
        ),
        pytest.param(
            Repair(),
            LONG,
            Run(gpus=2, max_num_seqs=1024, pinned=True),
            None,
            id="a pinned number of GPUs is not changed",
        ),
        pytest.param(
            Repair(),
            OUT,
            Run(gpus=1, max_num_seqs=1),
            Repair(enforce_eager=True),
            id="one sequence cannot be halved",
        ),
        pytest.param(
            Repair(), fault(Fault.NOT_ENOUGH_FREE), RUN, None, id="memory that others hold: nothing helps"
        ),
        pytest.param(Repair(), fault(Fault.INVALID), RUN, None, id="an invalid shape: nothing helps"),
        pytest.param(Repair(), fault(Fault.OTHER), RUN, None, id="another failure: nothing helps"),
    ],
)
def test_each_fault_is_answered_by_its_own_repair(
    before: Repair, seen: Diagnosis, run: Run, after: Repair | None
) -> None:
    assert next_repair(before, seen, run) == after


@given(st.lists(st.sampled_from([MANY, LONG, NONE_LEFT, OUT]), min_size=4, max_size=20))
def test_whatever_fails_there_are_at_most_three_repairs(faults: list[Diagnosis]) -> None:
    repair, made = Repair(), 0
    for seen in faults:
        following = next_repair(repair, seen, RUN)
        if following is not None:
            repair, made = following, made + 1
    assert made <= 3


def test_what_was_learned_is_read_back_as_it_was_written() -> None:
    learned = Learned(
        measured={"a": Measured(weights=14_000, available_kv=50_000), "b": Measured()},
        repairs={"c": Repair(max_num_seqs=614)},
        answered=("0a1b2c3d",),
    )
    assert Learned.parse(learned.dump()) == learned
    assert NOTHING.dump() == ""


@pytest.mark.parametrize("text", ["", "{", "[]", '{"measured": 1}', '{"measured": {"a": {"unknown": 1}}}'])
def test_a_memory_that_cannot_be_read_counts_as_empty(text: str) -> None:
    assert Learned.parse(text) == NOTHING


def failing(revision: str, kind: Fault, **numbers: int) -> EnginePod:
    diagnosis = Diagnosis(kind=kind, sentence="ValueError", **numbers)
    failed = StartFailure(words="ValueError", exit_code=1, diagnosis=diagnosis)
    return a_pod(failure=failed, revision=revision)


def test_a_start_that_fails_for_memory_is_planned_anew_at_once_and_nobody_is_told_it_failed() -> None:
    before = an_engine_set(replicas=1)
    world = observed(engines=(before,), pods=(failing(before.revision, Fault.OUT_OF_MEMORY),))
    plan = decide(an_owner(), replace(world, demand_until=NOW + seconds(10)), POLICY, NOW)
    assert plan.learned.answered == (before.revision,)
    goals = {goal.revision: goal for goal in plan.engines}
    assert goals.pop(before.revision).replicas == 0
    (anew,) = goals.values()
    assert anew.replicas == 1
    assert anew.blueprint is not None
    assert "--max-num-seqs=2" in anew.blueprint.plan.flags
    assert "it started with at most 2 sequences" in anew.blueprint.plan.why
    assert (plan.scale.start_failed, plan.start_failures) == ("", None)
    again = decide(an_owner(), replace(world, learned=plan.learned), POLICY, NOW)
    assert again.learned == plan.learned


def test_a_fault_that_no_repair_helps_rests_and_is_told() -> None:
    engine = an_engine_set(replicas=1)
    world = observed(engines=(engine,), pods=(failing(engine.revision, Fault.NOT_ENOUGH_FREE),))
    plan = decide(an_owner(), world, POLICY, NOW)
    assert plan.learned == NOTHING
    assert plan.scale.start_failed == "The engine ended with exit code 1: ValueError"


def test_what_a_replica_measured_is_kept_shown_and_restarts_nobody() -> None:
    engine = an_engine_set(replicas=1)
    seen = Measured(weights=20_000, available_kv=1_000)
    world = observed(engines=(engine,), pods=(a_pod(ready=NOW - seconds(5)),), heard={engine.revision: seen})
    assert unmeasured(world) == {engine.revision}
    made_by = a_blueprint().plan
    rollout = RolloutStatus(revision=engine.revision, serving_revision=engine.revision)
    owner = an_owner(status=LLMDeploymentStatus(plan=made_by, rollout=rollout))
    plan = decide(owner, world, POLICY, NOW)
    assert list(plan.learned.measured.values()) == [seen]
    assert [(goal.revision, goal.replicas) for goal in plan.engines] == [(engine.revision, 1)]
    assert plan.drift["weights"] > 5
    assert drift_words(plan.drift).startswith(
        "The engine measured otherwise, in shares of the GPU's budget: "
    )
    later = replace(world, learned=plan.learned, heard={})
    assert unmeasured(later) == frozenset()
    assert decide(owner, later, POLICY, NOW).learned == plan.learned


def test_a_small_drift_is_not_worth_a_word() -> None:
    assert drift_words({"weights": 5, "availableKv": -5}) == ""
    assert drift_words({"weights": 6, "availableKv": -5}).endswith(": weights +6 %")


def test_a_full_memory_forgets_what_it_learned_first() -> None:
    learned = Learned(measured={f"{63 - index:02}": Measured(weights=index) for index in range(64)})
    engine = an_engine_set(replicas=1)
    stored = Learned.parse(learned.dump())
    world = observed(engines=(engine,), learned=stored, heard={engine.revision: Measured(weights=99)})
    after = learn(an_owner(), world, NOW)
    assert stored.measured.keys() - after.measured.keys() == {"63"}
    assert len(after.measured) == 64
