"""What each condition of a deployment says: one function, one truth table, for each type.

Messages hold no counters and no times, so that an unchanged world gives equal conditions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from tertium.api.conditions import ConditionType, Reason
from tertium.core import names, waiting
from tertium.core.learning import drift_words
from tertium.core.observed import Observed, Owner
from tertium.core.plan import NoSizing, Plan
from tertium.core.source import ClaimSource, parse_source

Truth = Literal["True", "False", "Unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A condition without its times."""

    status: Truth
    reason: Reason
    message: str

    @classmethod
    def of(cls, status: Truth, reason: Reason, message: str = "") -> Said:
        """Say `reason`, in its own sentence unless there is a better one."""
        return cls(status=status, reason=reason, message=message or reason.sentence)


NOT_LOOKED_AT: Final = Said.of("Unknown", Reason.PENDING)
_FAILURES: Final = frozenset({Reason.START_FAILED, Reason.ROLLOUT_FAILED, Reason.ROLLED_BACK})


def conditions_of(owner: Owner, observed: Observed, plan: Plan) -> Mapping[ConditionType, Said]:
    """Return every condition of a deployment whose spec is understood, in the order they are listed."""
    said = {
        ConditionType.ACCEPTED: _accepted(owner, observed),
        ConditionType.PLANNED: _planned(plan),
        ConditionType.WEIGHTS_READY: _weights_ready(owner, observed),
        ConditionType.PROGRESSING: _progressing(observed, plan),
        ConditionType.ACTIVE: _active(owner, observed, plan),
    }
    return summed_up(said, rolling=_rolling(plan), asleep=_asleep_by_spec(owner))


def refused(refusal: Said, observed: Observed) -> Mapping[ConditionType, Said]:
    """Return every condition of a deployment that cannot be accepted; what runs is still reported."""
    said = {
        ConditionType.ACCEPTED: refusal,
        ConditionType.PLANNED: NOT_LOOKED_AT,
        ConditionType.WEIGHTS_READY: NOT_LOOKED_AT,
        ConditionType.PROGRESSING: NOT_LOOKED_AT,
        ConditionType.ACTIVE: _serving(observed) or NOT_LOOKED_AT,
    }
    return summed_up(said, rolling=False, asleep=None)


def summed_up(
    said: Mapping[ConditionType, Said], *, rolling: bool, asleep: Reason | None
) -> Mapping[ConditionType, Said]:
    """Add the conditions that follow from the others."""
    progressing = said[ConditionType.PROGRESSING]
    reconciling = Said.of("True", Reason.ROLLING_OUT, progressing.message)
    return {
        **said,
        ConditionType.READY: _ready(said, asleep),
        ConditionType.STALLED: _stalled(said, asleep),
        ConditionType.RECONCILING: reconciling if rolling else Said.of("False", Reason.STABLE),
    }


def _accepted(owner: Owner, observed: Observed) -> Said:
    """Say that the spec is understood, and whether the short name leads here.

    | the short name belongs to | status, reason  |
    | this deployment           | True, Valid     |
    | an older one              | True, NameTaken |
    """
    older = observed.name_taken_by
    if older is None:
        return Said.of("True", Reason.VALID)
    field = "spec.model.servedName" if owner.spec.model.served_name else "metadata.name"
    short, full = names.model_names(owner.key, owner.spec.model.served_name)
    message = f"{field}: the short name {short!r} leads to {older}, which is older"
    return Said.of("True", Reason.NAME_TAKEN, f"{message}; callers reach this one as {full!r}")


def _planned(plan: Plan) -> Said:
    sizing = plan.sizing
    if isinstance(sizing, NoSizing):
        return Said.of(sizing.status, sizing.reason, sizing.message)
    return Said.of("True", sizing.reason, ". ".join(filter(None, (sizing.plan.why, drift_words(plan.drift)))))


def _weights_ready(owner: Owner, observed: Observed) -> Said:
    """Say whether the model's files are where the engine reads them.

    | claim or Secret of the source | inspection       | status, reason                             |
    | does not exist                | any              | False, VolumeNotFound, CredentialsNotFound |
    | as it should be               | facts are known  | True, InVolume or ReadAtStart              |
    | as it should be               | failed           | False, its reason                          |
    | as it should be               | none, or running | Unknown, Inspecting                        |
    """
    seen = observed.inspection
    missing = _missing(owner, [seen.message, *(pod.waits_for for pod in observed.pods)])
    if missing is not None:
        return missing
    if observed.facts is not None:
        in_claim = isinstance(parse_source(owner.spec.model.source), ClaimSource)
        return Said.of("True", Reason.IN_VOLUME if in_claim else Reason.READ_AT_START)
    if seen.state == "failed":
        return Said.of("False", seen.reason, seen.message)
    return Said.of("Unknown", Reason.INSPECTING, seen.message)


def _missing(owner: Owner, words: Sequence[str]) -> Said | None:
    model, namespace = owner.spec.model, owner.key.namespace
    source, secret = parse_source(model.source), model.credentials_secret_ref
    if isinstance(source, ClaimSource) and waiting.missing_claim(source.claim, words):
        claim = f"PersistentVolumeClaim {namespace}/{source.claim} of spec.model.source"
        return Said.of("False", Reason.VOLUME_NOT_FOUND, f"{claim} does not exist; create it")
    problem = waiting.missing_secret(secret.name, words) if secret is not None else ""
    if secret is None or not problem:
        return None
    message = f"Secret {namespace}/{secret.name} of spec.model.credentialsSecretRef {problem}"
    return Said.of("False", Reason.CREDENTIALS_NOT_FOUND, message)


def _progressing(observed: Observed, plan: Plan) -> Said:
    """Say what is being changed.

    | observed                                         | status, reason        |
    | a start failed, nothing serves                   | False, StartFailed    |
    | the changed spec's replicas cannot start, the former serve again for good | False, RolledBack |
    | the same, and the start is tried again           | False, RolloutFailed  |
    | a further replica cannot start, others serve     | False, StartFailed    |
    | a replica has no node, for want of GPUs          | True, WaitingForGPU   |
    | a replica has no node, for another reason        | True, Unschedulable   |
    | the running replicas are not those of the spec   | True, RollingOut      |
    | fewer ready than wanted                          | True, ScalingUp       |
    | more there than wanted, or some are ending       | True, ScalingDown     |
    | otherwise                                        | False, Stable         |
    """
    failed = _failed(plan)
    if failed is not None:
        return failed
    wanted = plan.scale.replicas
    present = [pod for pod in observed.pods if not pod.terminating]
    short = len(observed.ready_pods) < wanted
    rolling = plan.rollout is not None and plan.rollout.first_difference
    unscheduled = next((pod for pod in present if pod.unschedulable), None)
    if unscheduled is not None and (short or rolling):
        reason, message = waiting.for_a_node(unscheduled, observed, plan.placements)
        return Said.of("True", reason, message)
    held_back = waiting.held_back(observed)
    if rolling:
        message = f"Replicas are being replaced: {rolling}"
        return Said.of("True", Reason.ROLLING_OUT, f"{message}; {held_back}" if held_back else message)
    if short:
        return Said.of("True", Reason.SCALING_UP, held_back)
    if len(present) > wanted or len(present) < len(observed.pods):
        return Said.of("True", Reason.SCALING_DOWN)
    return Said.of("False", Reason.STABLE)


def _failed(plan: Plan) -> Said | None:
    if plan.scale.start_failed:
        return Said.of("False", Reason.START_FAILED, plan.scale.start_failed)
    failures, rollout = plan.start_failures, plan.rollout
    if failures is None:
        return None
    if plan.rolled_back:
        message = f"{failures.message}; the former replicas serve until the spec changes again"
        return Said.of("False", Reason.ROLLED_BACK, message)
    if rollout is not None and rollout.first_difference:
        message = f"{failures.message}; the former replicas serve, and the start is tried again"
        return Said.of("False", Reason.ROLLOUT_FAILED, message)
    message = f"A further replica cannot start, the others serve: {failures.message}"
    return Said.of("False", Reason.START_FAILED, message)


def _rolling(plan: Plan) -> bool:
    changed = plan.rollout is not None and bool(plan.rollout.first_difference)
    return changed and not plan.rolled_back and plan.start_failures is None


def _active(owner: Owner, observed: Observed, plan: Plan) -> Said:
    """Say whether requests are answered now. Unknown while a replica starts: it will turn out either way.

    | observed                     | status, reason                 |
    | a replica is ready           | True, Serving                  |
    | `spec.suspend`, or `spec.replicas` is 0 | False, Suspended or PinnedToZero |
    | the last start failed        | False, StartFailed             |
    | replicas wanted, none ready  | Unknown, Waking                |
    | none wanted, a plan          | False, Idle                    |
    | none wanted, no plan         | Unknown, Pending               |
    """
    serving, asleep = _serving(observed), _asleep_by_spec(owner)
    if serving is not None:
        return serving
    if asleep is not None:
        return Said.of("False", asleep)
    if plan.scale.start_failed:
        return Said.of("False", Reason.START_FAILED, plan.scale.start_failed)
    if plan.scale.replicas > 0:
        return Said.of("Unknown", Reason.WAKING)
    if isinstance(plan.sizing, NoSizing):
        return NOT_LOOKED_AT
    return Said.of("False", Reason.IDLE)


def _serving(observed: Observed) -> Said | None:
    return Said.of("True", Reason.SERVING) if observed.ready_pods else None


def _asleep_by_spec(owner: Owner) -> Reason | None:
    if owner.spec.suspend:
        return Reason.SUSPENDED
    return Reason.PINNED_TO_ZERO if owner.spec.replicas == 0 else None


def _ready(said: Mapping[ConditionType, Said], asleep: Reason | None) -> Said:
    """Sum up; idle is healthy, and so is what the user put to sleep.

    | first that holds                                  | status, reason            |
    | Accepted is not True                              | its own                   |
    | `spec.suspend`, or `spec.replicas` is 0           | True, Suspended or PinnedToZero |
    | Planned or WeightsReady is False, else Unknown    | its own                   |
    | Active is False because of StartFailed            | its own                   |
    | otherwise                                         | True, Ready               |
    """
    if said[ConditionType.ACCEPTED].status != "True":
        return said[ConditionType.ACCEPTED]
    if asleep is not None:
        return Said.of("True", asleep)
    needed = [said[ConditionType.PLANNED], said[ConditionType.WEIGHTS_READY]]
    for status in ("False", "Unknown"):
        for words in needed:
            if words.status == status:
                return words
    active = said[ConditionType.ACTIVE]
    return active if active.reason is Reason.START_FAILED else Said.of("True", Reason.READY)


def _stalled(said: Mapping[ConditionType, Said], asleep: Reason | None) -> Said:
    """Say what only a change, or another try after a failure, can cure; not what is merely waited for.

    | first that holds                                             | status, reason |
    | Accepted is False                                            | True, its own  |
    | `spec.suspend`, or `spec.replicas` is 0                      | False, Stable  |
    | Planned or WeightsReady is False                             | True, its own  |
    | Progressing is StartFailed, RolloutFailed or RolledBack      | True, its own  |
    | otherwise                                                    | False, Stable  |
    """
    kinds = [ConditionType.ACCEPTED]
    if asleep is None:
        kinds += [ConditionType.PLANNED, ConditionType.WEIGHTS_READY]
    found = [said[kind] for kind in kinds if said[kind].status == "False"]
    progressing = said[ConditionType.PROGRESSING]
    if asleep is None and progressing.reason in _FAILURES:
        found.append(progressing)
    return Said.of("True", found[0].reason, found[0].message) if found else Said.of("False", Reason.STABLE)
