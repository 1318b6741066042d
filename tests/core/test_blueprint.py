"""What makes another revision, what is worth a restart, and how the difference is told."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tertium.core.blueprint import Blueprint, first_difference, wish, wishes
from tests.factories import POOL, a_blueprint, an_owner

HUB = {"model": {"source": "hf://Qwen/Qwen3-8B"}}
BIGGEST = {
    "engine": {
        "args": [f"--x{number}=" + "é" * 4000 for number in range(64)],
        "env": [{"name": f"V{number}" + "x" * 200, "value": "y" * 4096} for number in range(64)],
    },
    "template": {"annotations": {f"a{number}": "z" * 500 for number in range(16)}},
}


@pytest.mark.parametrize(
    ("spec", "difference"),
    [
        pytest.param(
            {"engine": {"args": ["--seed=1"]}},
            'spec.engine.args: (none) -> ["--seed=1"]',
            id="an argument of the engine",
        ),
        pytest.param(
            {"engine": {"env": [{"name": "A", "value": "secret"}]}},
            "spec.engine.env[A]: its value is another",
            id="a variable, without its value",
        ),
        pytest.param(
            {"engine": {"image": "mine:2"}}, "spec.engine.image: (none) -> mine:2", id="the engine's image"
        ),
        pytest.param(
            {"rollout": {"drainSeconds": 5}}, "spec.rollout.drainSeconds: 120 -> 5", id="the time to drain"
        ),
        pytest.param(
            {"template": {"nodeSelector": {"zone": "a"}}},
            'spec.template.nodeSelector: (none) -> {"zone": "a"}',
            id="a part of the template",
        ),
        pytest.param(
            {"model": {"source": "pvc://models/other"}},
            "spec.model.source: pvc://models/qwen -> pvc://models/other",
            id="another model",
        ),
        pytest.param(
            {"model": {"source": "pvc://models/qwen", "servedName": "q"}},
            "spec.model.servedName: (none) -> q",
            id="another name",
        ),
        pytest.param(
            {"capacity": {"contextTokens": 1024, "concurrentSequences": 4}},
            "spec.capacity.contextTokens: 2048 -> 1024",
            id="what the planner is asked, once its answer is another",
        ),
    ],
)
def test_a_change_that_matters_to_the_pod_is_another_revision(spec: dict[str, Any], difference: str) -> None:
    old, new = a_blueprint(), a_blueprint(spec)
    assert old.revision != new.revision
    assert wishes(old.document) != wish(new.spec)
    assert first_difference(old.document, new.document) == difference


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"scaling": {"maxReplicas": 9, "idleSeconds": 1}}, id="scaling"),
        pytest.param({"replicas": 3, "suspend": True}, id="the count"),
        pytest.param({"coldStart": {"holdSeconds": 9}}, id="cold starts"),
        pytest.param({"rollout": {"strategy": "Recreate", "onFailure": "Rollback"}}, id="how to roll out"),
        pytest.param({"placementSeconds": 9}, id="the patience"),
        pytest.param({"expireAfterSeconds": 900, "deleteAfterIdleSeconds": 60}, id="when it ends"),
        pytest.param({"engine": {"startSeconds": 77}}, id="how long a start may take"),
        pytest.param({"accelerators": [{"product": POOL.product}]}, id="naming the GPU it has anyway"),
        pytest.param({"precision": {"kvCache": "fp8IfNeeded"}}, id="a permission that is not needed"),
        pytest.param({"parallelism": {"tensor": 1}}, id="pinning the size it has anyway"),
    ],
)
def test_a_change_that_does_not_is_none(spec: dict[str, Any]) -> None:
    assert a_blueprint(spec).revision == a_blueprint().revision


def test_what_tertium_decides_is_told_after_what_the_user_asks() -> None:
    old = a_blueprint()
    plan = old.plan.model_copy(update={"flags": ("--max-num-seqs=2",)})
    new = replace(old, plan=plan)
    assert new.revision != old.revision
    assert wishes(new.document) == wishes(old.document)
    assert first_difference(old.document, {**new.document, "spec.engine.args": "[]"}) == (
        "spec.engine.args: (none) -> []"
    )
    assert first_difference({"the plan's --max-num-seqs": "4"}, {"the plan's --max-num-seqs": "2"}) == (
        "the plan's --max-num-seqs: 4 -> 2"
    )


@pytest.mark.parametrize(
    ("blueprint", "name"),
    [
        pytest.param(replace(a_blueprint(), image="engine:2"), "the operator's engine image", id="its image"),
        pytest.param(
            replace(a_blueprint(HUB), hub_endpoint="https://mirror"),
            "the operator's hub endpoint",
            id="its hub",
        ),
    ],
)
def test_the_operators_defaults_make_another_revision_that_nobody_asked_for(
    blueprint: Blueprint, name: str
) -> None:
    spec = HUB if blueprint.spec.model.source.startswith("hf") else None
    plain = a_blueprint(spec)
    assert blueprint.revision != plain.revision
    assert wishes(blueprint.document) == wishes(plain.document)
    assert first_difference(plain.document, blueprint.document).startswith(f"{name}: ")


def test_a_branch_that_leads_to_the_same_commit_is_the_same_pod() -> None:
    old = replace(a_blueprint(HUB), model_revision="6f6073b")
    spec = an_owner({"model": {**HUB["model"], "revision": "v1"}}).spec
    new = replace(old, spec=spec)
    assert new.revision == old.revision
    assert wishes(new.document) != wishes(old.document)


def test_an_unknown_document_is_said_to_be_older() -> None:
    assert first_difference({}, a_blueprint().document) == (
        "the running replicas were made by an earlier version of Tertium"
    )


def test_equal_documents_do_not_differ() -> None:
    assert first_difference(a_blueprint().document, a_blueprint().document) == ""


def test_the_largest_document_fits_an_annotation_and_still_tells_values_apart() -> None:
    document = a_blueprint(BIGGEST).document
    other = json.loads(json.dumps(BIGGEST))
    other["engine"]["args"][-1] += "!"
    assert len(json.dumps(document)) < 64 * 1024
    assert document["spec.engine.args"] != a_blueprint(other).document["spec.engine.args"]


@pytest.mark.parametrize(
    ("args", "shown"),
    [
        pytest.param(["--api-key=abc"], '["--api-key=…"]', id="in one word"),
        pytest.param(["--api-key", "abc", "--seed=1"], '["--api-key", "…", "--seed=1"]', id="in two words"),
        pytest.param(["--hf_token=abc"], '["--hf_token=…"]', id="with underscores"),
    ],
)
def test_a_secret_argument_is_not_shown_but_told_apart(args: list[str], shown: str) -> None:
    document = a_blueprint({"engine": {"args": args}}).document
    assert "abc" not in document["spec.engine.args"]
    assert document["spec.engine.args"].startswith(shown)
    changed = [argument.replace("abc", "abd") for argument in args]
    assert (
        a_blueprint({"engine": {"args": changed}}).document["spec.engine.args"]
        != (document["spec.engine.args"])
    )


def test_a_variable_shows_a_digest_and_no_value() -> None:
    document = a_blueprint({"engine": {"env": [{"name": "A", "value": "hunter2"}]}}).document
    assert "hunter2" not in document["spec.engine.env[A]"]
