"""Every condition type and reason, each with the sentence that documents it."""

from __future__ import annotations

from enum import StrEnum


class ConditionType(StrEnum):
    """What a condition is about.

    `Ready` sums up the others; `Active` is not in that sum: zero is healthy. `Stalled` and `Reconciling` say
    for tools that follow kstatus what the others say for people.
    """

    ACCEPTED = "Accepted"
    PLANNED = "Planned"
    WEIGHTS_READY = "WeightsReady"
    PROGRESSING = "Progressing"
    ACTIVE = "Active"
    READY = "Ready"
    STALLED = "Stalled"
    RECONCILING = "Reconciling"

    @property
    def sentence(self) -> str:
        """What it means that the condition is True."""
        return _TRUE_MEANS[self]


class Reason(StrEnum):
    """Why a condition has its status."""

    VALID = "Valid"
    NAME_TAKEN = "NameTaken"
    INVALID = "Invalid"
    NOT_OWNED = "NotOwned"
    FORBIDDEN = "Forbidden"
    PENDING = "Pending"

    INSPECTING = "Inspecting"
    MODEL_NOT_FOUND = "ModelNotFound"
    INSPECTION_FAILED = "InspectionFailed"
    FITS = "Fits"
    TIGHT = "Tight"
    UNVERIFIED = "Unverified"
    DOES_NOT_FIT = "DoesNotFit"
    NO_ACCELERATOR = "NoAccelerator"

    IN_VOLUME = "InVolume"
    READ_AT_START = "ReadAtStart"
    VOLUME_NOT_FOUND = "VolumeNotFound"
    CREDENTIALS_NOT_FOUND = "CredentialsNotFound"

    STABLE = "Stable"
    SCALING_UP = "ScalingUp"
    SCALING_DOWN = "ScalingDown"
    ROLLING_OUT = "RollingOut"
    ROLLOUT_FAILED = "RolloutFailed"
    ROLLED_BACK = "RolledBack"
    WAITING_FOR_GPU = "WaitingForGPU"
    UNSCHEDULABLE = "Unschedulable"
    START_FAILED = "StartFailed"

    SERVING = "Serving"
    WAKING = "Waking"
    IDLE = "Idle"
    PINNED_TO_ZERO = "PinnedToZero"
    SUSPENDED = "Suspended"

    READY = "Ready"

    @property
    def sentence(self) -> str:
        """The documentation of this reason."""
        return _SENTENCES[self]


_TRUE_MEANS: dict[ConditionType, str] = {
    ConditionType.ACCEPTED: "The spec is understood and permitted.",
    ConditionType.PLANNED: "A number of GPUs was found that holds the model with the capacity asked for.",
    ConditionType.WEIGHTS_READY: "The model's files are where the engine will read them.",
    ConditionType.PROGRESSING: "A change is being carried out.",
    ConditionType.ACTIVE: "Replicas answer requests. False for `Idle` is healthy: a request wakes one.",
    ConditionType.READY: "Requests are answered, from a running replica or by waking one; or none are "
    "wanted, because the deployment is suspended.",
    ConditionType.STALLED: "What the spec asks for is not reached, and will not be without a change or luck: "
    "the message says why.",
    ConditionType.RECONCILING: "A changed spec is replacing running replicas.",
}

_SENTENCES: dict[Reason, str] = {
    Reason.VALID: "The spec is understood.",
    Reason.NAME_TAKEN: "An older deployment has this short name; the full name works.",
    Reason.INVALID: "The spec contradicts itself or names something unknown; the message says what.",
    Reason.NOT_OWNED: "An object with a name Tertium needs exists and belongs to someone else.",
    Reason.FORBIDDEN: "The API server refuses a change Tertium needs: missing rights, a quota or a policy.",
    Reason.PENDING: "Not looked at yet.",
    Reason.INSPECTING: "The model's config and weight sizes are being read.",
    Reason.MODEL_NOT_FOUND: "There is no model at `spec.model.source`.",
    Reason.INSPECTION_FAILED: "The model's config or weights could not be read.",
    Reason.FITS: "The model fits the planned number of GPUs.",
    Reason.TIGHT: "The model fits the planned number of GPUs with less memory to spare than is comfortable.",
    Reason.UNVERIFIED: "The model fits by an estimate: its architecture is not one the planner knows.",
    Reason.DOES_NOT_FIT: "No allowed number of GPUs holds the model with the capacity asked for.",
    Reason.NO_ACCELERATOR: "No node has the GPUs asked for.",
    Reason.IN_VOLUME: "The model's files are complete in the volume the engine mounts.",
    Reason.READ_AT_START: "The model's files are complete at the hub; every replica reads them when it "
    "starts.",
    Reason.VOLUME_NOT_FOUND: "The PersistentVolumeClaim of `spec.model.source` does not exist.",
    Reason.CREDENTIALS_NOT_FOUND: "The Secret of `spec.model.credentialsSecretRef` does not exist or has no "
    "key `token`.",
    Reason.STABLE: "Nothing is being changed.",
    Reason.SCALING_UP: "Replicas are being started.",
    Reason.SCALING_DOWN: "Replicas are finishing their requests and stopping.",
    Reason.ROLLING_OUT: "Replicas are being replaced because the spec changed.",
    Reason.ROLLOUT_FAILED: "Replicas of the changed spec cannot start; the former ones serve, and the "
    "start is tried again.",
    Reason.ROLLED_BACK: "Replicas of the changed spec could not start; the former ones serve until the "
    "spec changes again.",
    Reason.WAITING_FOR_GPU: "A replica waits for free GPUs.",
    Reason.UNSCHEDULABLE: "No node takes a replica, for another reason than its GPUs; the message has the "
    "scheduler's.",
    Reason.START_FAILED: "The engine could not be started; the message says why. It is tried again after "
    "a rest.",
    Reason.SERVING: "At least one replica answers requests.",
    Reason.WAKING: "A replica is starting.",
    Reason.IDLE: "No replica runs, on purpose; the next request starts one.",
    Reason.PINNED_TO_ZERO: "No replica runs, because `spec.replicas` is 0; requests are refused.",
    Reason.SUSPENDED: "No replica runs, because `spec.suspend` is true; requests are refused.",
    Reason.READY: "Requests are answered, from a running replica or by waking one.",
}
