"""When a request need not wait, because no replica can come."""

from __future__ import annotations

from typing import Any

import pytest

from tertium.core.refusal import Refusal, refusal_of


def a_manifest(*conditions: tuple[str, str, str], replicas: int | None = None) -> dict[str, Any]:
    """A deployment at generation 2; a condition's type may end in its generation, as in `Planned@1`."""
    listed = []
    for kind, status, reason in conditions:
        name, _, generation = kind.partition("@")
        listed.append(
            {
                "type": name,
                "status": status,
                "reason": reason,
                "message": f"because of {reason}",
                "observedGeneration": int(generation or 2),
            }
        )
    spec = {} if replicas is None else {"replicas": replicas}
    return {"metadata": {"name": "m", "generation": 2}, "spec": spec, "status": {"conditions": listed}}


@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        pytest.param(a_manifest(), None, id="an object nobody has looked at may be waited for"),
        pytest.param({"metadata": {"name": "m"}, "spec": {}}, None, id="so may one without any status"),
        pytest.param(a_manifest(("Accepted", "False", "Invalid")), "Invalid", id="not accepted"),
        pytest.param(a_manifest(("Planned", "False", "ModelNotFound")), "ModelNotFound", id="no such model"),
        pytest.param(a_manifest(("Planned", "False", "DoesNotFit")), "DoesNotFit", id="does not fit"),
        pytest.param(
            a_manifest(("WeightsReady", "False", "VolumeNotFound")), "VolumeNotFound", id="no volume"
        ),
        pytest.param(a_manifest(("Planned", "Unknown", "Inspecting")), None, id="being inspected"),
        pytest.param(a_manifest(("Active", "False", "StartFailed")), "StartFailed", id="start failed"),
        pytest.param(a_manifest(("Active", "False", "Idle")), None, id="asleep on purpose"),
        pytest.param(a_manifest(("Active", "False", "Waking")), None, id="waking"),
        pytest.param(
            a_manifest(("Accepted", "False", "NotOwned"), ("Planned", "False", "DoesNotFit")),
            "NotOwned",
            id="the first thing wrong is named",
        ),
        pytest.param(a_manifest(("Planned@1", "False", "DoesNotFit")), None, id="said about an older spec"),
        pytest.param(a_manifest(replicas=2), None, id="pinned to some replicas"),
    ],
)
def test_a_refusal_has_the_conditions_words(manifest: dict[str, Any], reason: str | None) -> None:
    expected = None if reason is None else Refusal(reason=reason, message=f"because of {reason}")
    assert refusal_of(manifest) == expected


@pytest.mark.parametrize(
    ("spec", "refusal"),
    [
        pytest.param(
            {"replicas": 0},
            Refusal(
                reason="PinnedToZero",
                message="its `spec.replicas` is pinned to 0; raise or remove it and requests wake the model",
            ),
            id="pinned to zero",
        ),
        pytest.param(
            {"suspend": True, "replicas": 0},
            Refusal(
                reason="Suspended",
                message="its `spec.suspend` is true; set it to false and requests wake the model",
            ),
            id="suspended",
        ),
    ],
)
def test_what_the_user_put_to_sleep_is_refused_whatever_else_is_said(
    spec: dict[str, Any], refusal: Refusal
) -> None:
    manifest = a_manifest(("Planned", "False", "DoesNotFit"))
    assert refusal_of({**manifest, "spec": spec}) == refusal


def test_a_failed_start_says_when_it_is_tried_again() -> None:
    manifest = a_manifest(("Active", "False", "StartFailed"))
    manifest["status"]["startFailures"] = {"revision": "r", "count": 3, "lastAt": "2026-11-21T12:00:00Z"}
    assert refusal_of(manifest) == Refusal(
        reason="StartFailed",
        message="because of StartFailed. It is tried again 240 s after the failure at 2026-11-21T12:00:00Z",
    )
