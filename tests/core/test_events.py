"""What happened between two statuses: transitions and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tertium.api.conditions import ConditionType, Reason
from tertium.api.meta import Condition
from tertium.api.v1alpha1 import LLMDeploymentStatus, Placement, RolloutStatus, StartFailures
from tertium.core.events import Event, EventReason, events_of, expired
from tests.factories import at


def a_status(*conditions: tuple[ConditionType, str, Reason], **fields: Any) -> LLMDeploymentStatus:
    listed = tuple(
        Condition.model_validate(
            {
                "type": kind,
                "status": status,
                "reason": reason,
                "message": f"because of {reason}",
                "lastTransitionTime": at(0),
            }
        )
        for kind, status, reason in conditions
    )
    return LLMDeploymentStatus(conditions=listed, **fields)


def active(status: str, reason: Reason) -> LLMDeploymentStatus:
    return a_status((ConditionType.ACTIVE, status, reason))


NEW = LLMDeploymentStatus()
SERVING = active("True", Reason.SERVING)
WAKING = active("Unknown", Reason.WAKING)
IDLE = active("False", Reason.IDLE)
FAILED = StartFailures(revision="r1", count=1, last_at=at(-9), message="out of memory")
AGAIN = FAILED.model_copy(update={"count": 2, "last_at": at(0)})
PLACEMENT = Placement(accelerator="GPU-80GB", gave_up_at=at(0), message="none free")
OLD_SERVES = RolloutStatus(
    revision="r2", serving_revision="r1", first_difference="spec.engine.args: [] -> ['-x']"
)
DONE = RolloutStatus(revision="r2", serving_revision="r2")


def rolling(reason: Reason, rollout: RolloutStatus) -> LLMDeploymentStatus:
    return a_status((ConditionType.PROGRESSING, "True", reason), rollout=rollout)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        pytest.param(NEW, NEW, [], id="nothing happened"),
        pytest.param(WAKING, SERVING, ["Woke: A replica answers requests"], id="woken"),
        pytest.param(
            NEW, SERVING, ["Woke: A replica answers requests"], id="seen serving for the first time"
        ),
        pytest.param(SERVING, IDLE, ["Slept: because of Idle"], id="asleep"),
        pytest.param(WAKING, IDLE, ["Slept: because of Idle"], id="asleep before it ever answered"),
        pytest.param(NEW, IDLE, [], id="a new one that sleeps has not fallen asleep"),
        pytest.param(
            SERVING, active("False", Reason.SUSPENDED), ["Suspended: because of Suspended"], id="suspended"
        ),
        pytest.param(
            NEW,
            a_status((ConditionType.ACCEPTED, "False", Reason.INVALID)),
            ["Warning Refused: Invalid: because of Invalid"],
            id="a spec that contradicts itself",
        ),
        pytest.param(
            NEW,
            a_status((ConditionType.PLANNED, "False", Reason.DOES_NOT_FIT)),
            ["Warning Refused: DoesNotFit: because of DoesNotFit"],
            id="a model that does not fit",
        ),
        pytest.param(
            a_status((ConditionType.PLANNED, "False", Reason.NO_ACCELERATOR)),
            a_status((ConditionType.PLANNED, "False", Reason.DOES_NOT_FIT)),
            ["Warning Refused: DoesNotFit: because of DoesNotFit"],
            id="refused for another reason than before",
        ),
        pytest.param(
            a_status((ConditionType.ACCEPTED, "True", Reason.VALID)),
            a_status((ConditionType.ACCEPTED, "True", Reason.NAME_TAKEN)),
            ["Warning NameTaken: because of NameTaken"],
            id="a short name that an older one has",
        ),
        pytest.param(
            NEW,
            a_status((ConditionType.WEIGHTS_READY, "False", Reason.VOLUME_NOT_FOUND)),
            ["Warning Refused: VolumeNotFound: because of VolumeNotFound"],
            id="a volume that is not there",
        ),
        pytest.param(
            NEW,
            LLMDeploymentStatus(start_failures=FAILED),
            ["Warning StartFailed: out of memory"],
            id="a start failed",
        ),
        pytest.param(
            LLMDeploymentStatus(start_failures=FAILED),
            LLMDeploymentStatus(start_failures=AGAIN),
            ["Warning StartFailed: out of memory"],
            id="the next one too",
        ),
        pytest.param(
            LLMDeploymentStatus(start_failures=FAILED), NEW, [], id="a success is told by what it does"
        ),
        pytest.param(
            NEW,
            a_status((ConditionType.PROGRESSING, "True", Reason.WAITING_FOR_GPU)),
            ["Warning WaitingForGPU: because of WaitingForGPU"],
            id="no GPU is free",
        ),
        pytest.param(
            NEW,
            LLMDeploymentStatus(placements=(PLACEMENT,)),
            ["Warning PlacedElsewhere: GPU-80GB could not be had in time: none free"],
            id="another accelerator is tried",
        ),
        pytest.param(
            NEW,
            rolling(Reason.ROLLING_OUT, OLD_SERVES),
            ["RolloutStarted: Replacing the replicas: spec.engine.args: [] -> ['-x']"],
            id="a rollout begins, with its first difference",
        ),
        pytest.param(
            rolling(Reason.ROLLING_OUT, OLD_SERVES),
            rolling(Reason.ROLLING_OUT, OLD_SERVES),
            [],
            id="a rollout goes on",
        ),
        pytest.param(
            rolling(Reason.ROLLING_OUT, OLD_SERVES),
            rolling(Reason.ROLLING_OUT, DONE),
            ["RolloutDone: The replicas of the changed spec have replaced the old ones"],
            id="a rollout is done",
        ),
        pytest.param(
            rolling(Reason.ROLLING_OUT, OLD_SERVES),
            rolling(Reason.ROLLING_OUT, RolloutStatus(revision="r1", serving_revision="r1")),
            [],
            id="a spec that was changed back has replaced nothing",
        ),
        pytest.param(
            rolling(Reason.ROLLING_OUT, OLD_SERVES),
            rolling(Reason.ROLLED_BACK, OLD_SERVES),
            ["Warning RolledBack: because of RolledBack"],
            id="a rollout is taken back",
        ),
    ],
)
def test_transitions(before: LLMDeploymentStatus, after: LLMDeploymentStatus, told: list[str]) -> None:
    lines = [f"{event.type} {event.reason}: {event.message}" for event in events_of(before, after)]
    assert [line.removeprefix("Normal ") for line in lines] == told


def test_a_deletion_by_the_spec_says_why() -> None:
    assert expired("spec.expireAfterSeconds is over") == Event(
        type="Normal", reason=EventReason.EXPIRED, message="Deleted: spec.expireAfterSeconds is over"
    )


CONDITIONS = st.lists(
    st.tuples(
        st.sampled_from(ConditionType), st.sampled_from(["True", "False", "Unknown"]), st.sampled_from(Reason)
    ),
    unique_by=lambda row: row[0],
)


@settings(max_examples=30)
@given(conditions=CONDITIONS)
def test_an_unchanged_status_has_no_events(conditions: list[tuple[ConditionType, str, Reason]]) -> None:
    status = a_status(*conditions, start_failures=FAILED, placements=(PLACEMENT,), rollout=OLD_SERVES)
    assert events_of(status, status) == ()
