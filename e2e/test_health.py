"""What Argo CD, taught by the chart's ConfigMap, and kstatus make of every state that Tertium reports.

Settings and Lua machine are Argo CD's own code, kstatus is Flux's, and the operator's sums up the conditions.
No cluster is needed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest

from e2e.gitops import Health, health, program
from tertium.api.conditions import ConditionType, Reason
from tertium.api.crd import object_schema
from tertium.core.conditions import NOT_LOOKED_AT, Said, summed_up

pytestmark = pytest.mark.e2e

ARGOCD_CM: Final = Path(__file__).resolve().parents[1] / "charts" / "tertium" / "argocd" / "argocd-cm.yaml"
WORDS: Final = "9 attention heads do not divide by 2"


SERVING: Final = {
    ConditionType.ACCEPTED: Said.of("True", Reason.VALID),
    ConditionType.PLANNED: Said.of("True", Reason.FITS),
    ConditionType.WEIGHTS_READY: Said.of("True", Reason.IN_VOLUME),
    ConditionType.PROGRESSING: Said.of("False", Reason.STABLE),
    ConditionType.ACTIVE: Said.of("True", Reason.SERVING),
}


@pytest.fixture(scope="module", autouse=True)
def _built() -> None:
    """Building takes longer than a test may."""
    program()


def deployment(
    *, suspended: bool = False, rolling: bool = False, generation: int = 1, **conditions_by_name: Said
) -> dict[str, Any]:
    """An LLMDeployment that serves, but for the conditions named; its first generation was reported on."""
    asleep = Reason.SUSPENDED if suspended else None
    said = {kind: conditions_by_name.get(kind.value, words) for kind, words in SERVING.items()}
    conditions = [
        {"type": str(kind), "status": words.status, "reason": str(words.reason), "message": words.message}
        for kind, words in summed_up(said, rolling=rolling, asleep=asleep).items()
    ]
    status = {"observedGeneration": 1, "conditions": conditions}
    return unseen(generation=generation, status=status, suspend=suspended)


def unseen(*, generation: int = 1, status: dict[str, Any], suspend: bool = False) -> dict[str, Any]:
    """An LLMDeployment with the status given."""
    return {
        "apiVersion": "tertium.dev/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {"name": "qwen", "namespace": "team-a", "generation": generation},
        "spec": {"model": {"source": "pvc://models/qwen"}, "suspend": suspend},
        "status": status,
    }


@pytest.mark.parametrize(
    ("state", "argocd", "kstatus", "words"),
    [
        pytest.param(
            unseen(status=object_schema()["properties"]["status"]["default"]),
            "Progressing",
            "InProgress",
            "Tertium has not looked at this spec yet.",
            id="one that the operator has never seen is in progress",
        ),
        pytest.param(
            deployment(generation=2),
            "Progressing",
            "InProgress",
            "Tertium has not looked at this spec yet.",
            id="one whose new spec the operator has not seen is in progress, though the old one serves",
        ),
        pytest.param(
            deployment(
                Planned=Said.of("Unknown", Reason.INSPECTING),
                WeightsReady=Said.of("Unknown", Reason.INSPECTING),
                Active=NOT_LOOKED_AT,
            ),
            "Progressing",
            "InProgress",
            Reason.INSPECTING.sentence,
            id="one whose model is being read is in progress",
        ),
        pytest.param(
            deployment(Active=Said.of("False", Reason.IDLE)),
            "Healthy",
            "Current",
            Reason.IDLE.sentence,
            id="one that sleeps is healthy",
        ),
        pytest.param(
            deployment(), "Healthy", "Current", Reason.SERVING.sentence, id="one that serves is healthy"
        ),
        pytest.param(
            deployment(
                Progressing=Said.of("True", Reason.SCALING_UP), Active=Said.of("Unknown", Reason.WAKING)
            ),
            "Progressing",
            "Current",
            Reason.SCALING_UP.sentence,
            id="one that wakes is in progress for Argo CD and current for Flux: nobody changed it",
        ),
        pytest.param(
            deployment(Progressing=Said.of("True", Reason.WAITING_FOR_GPU)),
            "Progressing",
            "Current",
            Reason.WAITING_FOR_GPU.sentence,
            id="one that waits for GPUs beside a replica that serves is in progress",
        ),
        pytest.param(
            deployment(Progressing=Said.of("True", Reason.SCALING_DOWN)),
            "Healthy",
            "Current",
            Reason.SERVING.sentence,
            id="one whose replicas finish their requests before they stop is healthy",
        ),
        pytest.param(
            deployment(Progressing=Said.of("True", Reason.ROLLING_OUT), rolling=True),
            "Progressing",
            "InProgress",
            Reason.ROLLING_OUT.sentence,
            id="one whose changed spec is rolling out is in progress",
        ),
        pytest.param(
            deployment(Planned=Said.of("False", Reason.INVALID, WORDS), Active=NOT_LOOKED_AT),
            "Degraded",
            "Failed",
            WORDS,
            id="one that no number of GPUs can run is degraded",
        ),
        pytest.param(
            deployment(
                Accepted=Said.of("False", Reason.NOT_OWNED, WORDS),
                Planned=NOT_LOOKED_AT,
                WeightsReady=NOT_LOOKED_AT,
                Progressing=NOT_LOOKED_AT,
            ),
            "Degraded",
            "Failed",
            WORDS,
            id="one that is refused is degraded, though a replica serves",
        ),
        pytest.param(
            deployment(
                Progressing=Said.of("False", Reason.START_FAILED, WORDS),
                Active=Said.of("False", Reason.START_FAILED, WORDS),
            ),
            "Degraded",
            "Failed",
            WORDS,
            id="one whose engine cannot be started is degraded",
        ),
        pytest.param(
            deployment(Progressing=Said.of("False", Reason.ROLLOUT_FAILED, WORDS)),
            "Degraded",
            "Failed",
            WORDS,
            id="one whose changed spec cannot be started is degraded, though the former one serves",
        ),
        pytest.param(
            deployment(Active=Said.of("False", Reason.SUSPENDED), suspended=True),
            "Suspended",
            "Current",
            Reason.SUSPENDED.sentence,
            id="one that is suspended says so",
        ),
        pytest.param(
            deployment(Accepted=Said.of("False", Reason.INVALID, WORDS), suspended=True),
            "Degraded",
            "Failed",
            WORDS,
            id="one that is suspended and refused is degraded",
        ),
    ],
)
def test_every_state_has_its_health(state: dict[str, Any], argocd: str, kstatus: str, words: str) -> None:
    (seen,) = health(ARGOCD_CM, [state])
    assert seen == Health(argocd=argocd, argocd_message=words, kstatus=kstatus)


def test_without_any_status_argo_cd_waits() -> None:
    (seen,) = health(ARGOCD_CM, [unseen(status={})])
    assert seen.argocd == "Progressing"
