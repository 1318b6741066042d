"""Steps of an inspection, and what its Job printed."""

from __future__ import annotations

import pytest

from tertium.api.conditions import Reason
from tertium.api.v1alpha1 import Model, SecretReference
from tertium.core.inspection import ABSENT, Inspection, Step, ended, next_step, parse_output
from tertium.core.revision import content_digest, source_digest
from tests.factories import NOW, at, seconds


@pytest.mark.parametrize(
    ("inspection", "stored", "step"),
    [
        pytest.param(ABSENT, True, Step.NONE, id="stored facts need nothing"),
        pytest.param(ABSENT, False, Step.START, id="an unknown model is inspected"),
        pytest.param(Inspection(state="running"), False, Step.WAIT, id="a running Job is waited for"),
        pytest.param(Inspection(state="done", facts="{}"), False, Step.STORE, id="facts are stored"),
        pytest.param(
            Inspection(state="failed", failed_at=NOW - seconds(59)),
            False,
            Step.WAIT,
            id="a failure stays a while",
        ),
        pytest.param(
            Inspection(state="failed", failed_at=NOW - seconds(60)),
            False,
            Step.RETRY,
            id="then it is tried again",
        ),
    ],
)
def test_steps(inspection: Inspection, stored: bool, step: Step) -> None:
    assert next_step(inspection, stored=stored, now=NOW, retry_seconds=60) is step


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        pytest.param(
            '{"facts": {"weightBytes": 5, "config": {}}}\n',
            Inspection(state="done", facts='{"config":{},"weightBytes":5}'),
            id="facts, in a stable order",
        ),
        pytest.param(
            'Warning: slow disk\n{"facts": {}}\nbye\n',
            Inspection(state="done", facts="{}"),
            id="facts among other lines",
        ),
        pytest.param(
            '{"error": {"reason": "ModelNotFound", "message": "no folder x"}}',
            Inspection(state="failed", reason=Reason.MODEL_NOT_FOUND, message="no folder x", failed_at=NOW),
            id="a reasoned failure",
        ),
        pytest.param(
            '{"error": {"reason": "Ready", "message": "odd"}}',
            Inspection(state="failed", reason=Reason.INSPECTION_FAILED, message="odd", failed_at=NOW),
            id="a reason that no inspection may give",
        ),
        pytest.param(
            "Traceback\nMemoryError\n",
            Inspection(state="failed", reason=Reason.INSPECTION_FAILED, message="MemoryError", failed_at=NOW),
            id="the last words of a crash",
        ),
        pytest.param(
            "",
            Inspection(state="failed", reason=Reason.INSPECTION_FAILED, message="no log", failed_at=NOW),
            id="no words at all",
        ),
    ],
)
def test_outputs(output: str, expected: Inspection) -> None:
    assert parse_output(output, NOW, otherwise="no log") == expected


def test_the_end_of_a_job() -> None:
    failed = {"type": "Failed", "status": "True", "lastTransitionTime": at(-3)}
    criterion = {"type": "FailureTarget", "status": "True", "lastTransitionTime": at(-4)}
    assert ended({"status": {"conditions": [criterion, failed]}}) == ("failed", NOW - seconds(3))
    assert ended({"status": {"conditions": [{**failed, "type": "Complete"}]}}) == ("done", NOW - seconds(3))
    assert ended({"status": {"active": 1}}) is None


def test_the_served_name_is_no_reason_to_inspect_again() -> None:
    model = Model(source="hf://a/b", served_name="x")
    assert source_digest(model) == source_digest(Model(source="hf://a/b"))
    others = [
        Model(source="hf://a/c"),
        Model(source="hf://a/b", revision="1"),
        Model(source="hf://a/b", credentials_secret_ref=SecretReference(name="s")),
    ]
    assert len({source_digest(other) for other in (model, *others)}) == 4


def test_a_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert content_digest({"a": 1, "b": 2}) == content_digest({"b": 2, "a": 1}) != content_digest({"a": 1})
