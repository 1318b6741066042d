"""Every condition type and reason, each with the sentence that documents it."""

from __future__ import annotations

from enum import StrEnum


class ConditionType(StrEnum):
    """What a condition is about. `Ready` sums up the others; `Active` is not in that sum: zero is healthy."""

    ACCEPTED = "Accepted"
    PLANNED = "Planned"
    PROGRESSING = "Progressing"
    ACTIVE = "Active"
    READY = "Ready"


class Reason(StrEnum):
    """Why a condition has its status."""

    VALID = "Valid"
    INVALID = "Invalid"
    NOT_OWNED = "NotOwned"
    FORBIDDEN = "Forbidden"
    PENDING = "Pending"

    INSPECTING = "Inspecting"
    MODEL_NOT_FOUND = "ModelNotFound"
    INSPECTION_FAILED = "InspectionFailed"
    FITS = "Fits"
    DOES_NOT_FIT = "DoesNotFit"
    NO_ACCELERATOR = "NoAccelerator"

    STABLE = "Stable"
    SCALING_UP = "ScalingUp"
    SCALING_DOWN = "ScalingDown"
    ROLLING_OUT = "RollingOut"
    WAITING_FOR_GPU = "WaitingForGPU"
    START_FAILED = "StartFailed"

    SERVING = "Serving"
    WAKING = "Waking"
    IDLE = "Idle"

    READY = "Ready"

    @property
    def sentence(self) -> str:
        """The documentation of this reason."""
        return _SENTENCES[self]


_SENTENCES: dict[Reason, str] = {
    Reason.VALID: "The spec is understood.",
    Reason.INVALID: "The spec contradicts itself or names something unknown; the message says what.",
    Reason.NOT_OWNED: "An object with a name Tertium needs exists and belongs to someone else.",
    Reason.FORBIDDEN: "The API server refuses a change Tertium needs: missing rights, a quota or a policy.",
    Reason.PENDING: "Not looked at yet.",
    Reason.INSPECTING: "The model's config and weight sizes are being read.",
    Reason.MODEL_NOT_FOUND: "There is no model at `spec.model.source`.",
    Reason.INSPECTION_FAILED: "The model's config or weights could not be read.",
    Reason.FITS: "The model fits the planned number of GPUs.",
    Reason.DOES_NOT_FIT: "No allowed number of GPUs holds the model with the capacity asked for.",
    Reason.NO_ACCELERATOR: "No node has the GPUs asked for.",
    Reason.STABLE: "Nothing is being changed.",
    Reason.SCALING_UP: "Replicas are being started.",
    Reason.SCALING_DOWN: "Replicas are finishing their requests and stopping.",
    Reason.ROLLING_OUT: "Replicas are being replaced because the spec changed.",
    Reason.WAITING_FOR_GPU: "A replica waits for free GPUs.",
    Reason.START_FAILED: "The engine could not be started; the message has its own words.",
    Reason.SERVING: "At least one replica answers requests.",
    Reason.WAKING: "A replica is starting.",
    Reason.IDLE: "No replica runs, on purpose; the next request starts one.",
    Reason.READY: "Requests are answered, from a running replica or by waking one.",
}
