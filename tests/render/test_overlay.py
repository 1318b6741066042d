"""The user's template over the engine's pod."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertium.api.v1alpha1 import Template
from tertium.render.overlay import lay_over, literal

POD: dict[str, Any] = {
    "metadata": {"labels": {"tertium.dev/deployment": "qwen"}},
    "spec": {
        "containers": [
            {
                "name": "engine",
                "resources": {"limits": {"nvidia.com/gpu": "2"}},
                "volumeMounts": [{"name": "model", "mountPath": "/models", "readOnly": True}],
            }
        ],
        "nodeSelector": {"nvidia.com/gpu.product": "GPU-24GB"},
        "tolerations": [
            {"key": "nvidia.com/gpu", "operator": "Exists"},
            {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "tolerationSeconds": 60},
        ],
        "volumes": [{"name": "model", "emptyDir": {}}],
    },
}


def laid(overlay: dict[str, Any], pod: dict[str, Any] | None = None) -> dict[str, Any]:
    return lay_over(pod or POD, Template.model_validate(overlay))


def test_an_empty_template_changes_nothing() -> None:
    assert laid({}) == POD


def test_a_full_template_changes_neither_the_pod_nor_itself() -> None:
    before = copy.deepcopy(POD)
    overlay = Template.model_validate(
        {"labels": {"a": "b"}, "resources": {"limits": {"cpu": 8}}, "affinity": {"podAffinity": {}}}
    )
    kept = overlay.model_copy(deep=True)
    lay_over(POD, overlay)
    assert (before, kept) == (POD, overlay)


@pytest.mark.parametrize(
    ("overlay", "part", "expected"),
    [
        pytest.param(
            {"labels": {"team": "a", "tertium.dev/deployment": "other"}},
            ("metadata", "labels"),
            {"team": "a", "tertium.dev/deployment": "qwen"},
            id="labels are merged, and Tertium's stay",
        ),
        pytest.param(
            {"annotations": {"a": "b"}}, ("metadata", "annotations"), {"a": "b"}, id="annotations are added"
        ),
        pytest.param(
            {"nodeSelector": {"zone": "a"}},
            ("spec", "nodeSelector"),
            {"zone": "a", "nvidia.com/gpu.product": "GPU-24GB"},
            id="a node must have both selectors' labels",
        ),
        pytest.param(
            {"tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists"}, {"key": "team"}]},
            ("spec", "tolerations"),
            [
                {"key": "nvidia.com/gpu", "operator": "Exists"},
                {"key": "node.kubernetes.io/not-ready", "operator": "Exists"},
                {"key": "team"},
            ],
            id="a taint the user names is tolerated as the user says",
        ),
        pytest.param(
            {
                "volumes": [
                    {"name": "scratch", "emptyDir": {"sizeLimit": "1Gi"}},
                    {"name": "model", "emptyDir": {}},
                ]
            },
            ("spec", "volumes"),
            [{"name": "model", "emptyDir": {}}, {"name": "scratch", "emptyDir": {"sizeLimit": "1Gi"}}],
            id="volumes are merged by name",
        ),
        pytest.param({"priorityClassName": "high"}, ("spec", "priorityClassName"), "high", id="a priority"),
        pytest.param({"runtimeClassName": "nvidia"}, ("spec", "runtimeClassName"), "nvidia", id="a runtime"),
        pytest.param({"schedulerName": "own"}, ("spec", "schedulerName"), "own", id="a scheduler"),
        pytest.param({"serviceAccountName": "sa"}, ("spec", "serviceAccountName"), "sa", id="an account"),
        pytest.param(
            {"imagePullSecrets": [{"name": "pull"}]},
            ("spec", "imagePullSecrets"),
            [{"name": "pull"}],
            id="secrets",
        ),
        pytest.param(
            {"securityContext": {"fsGroup": 5, "runAsUser": None}},
            ("spec", "securityContext"),
            {"fsGroup": 5},
            id="fields that are null are left out, as the API server does",
        ),
        pytest.param(
            {"topologySpreadConstraints": [{"maxSkew": 1}]},
            ("spec", "topologySpreadConstraints"),
            [{"maxSkew": 1}],
            id="spreading",
        ),
    ],
)
def test_parts_of_the_pod(overlay: dict[str, Any], part: tuple[str, str], expected: Any) -> None:
    assert laid(overlay)[part[0]][part[1]] == expected


def test_resources_and_mounts_go_to_the_engines_container() -> None:
    overlay = {
        "resources": {
            "requests": {"cpu": 8, "memory": "2048Mi"},
            "limits": {"memory": "16Gi", "nvidia.com/gpu": 2},
        },
        "volumeMounts": [{"name": "scratch", "mountPath": "/scratch", "subPath": "a"}],
    }
    sidecar = {"name": "other"}
    pod = {**POD, "spec": {**POD["spec"], "containers": [*POD["spec"]["containers"], sidecar]}}
    engine, other = laid(overlay, pod)["spec"]["containers"]
    assert engine["resources"] == {
        "limits": {"memory": "16Gi", "nvidia.com/gpu": "2"},
        "requests": {"cpu": "8", "memory": "2Gi"},
    }
    assert engine["volumeMounts"] == [
        {"name": "model", "mountPath": "/models", "readOnly": True},
        {"name": "scratch", "mountPath": "/scratch", "subPath": "a"},
    ]
    assert other == sidecar


def nodes(*keys: str) -> dict[str, Any]:
    terms = [{"matchExpressions": [{"key": key, "operator": "Exists"}]} for key in keys]
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}


PREFERRED = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": {}}]}


@pytest.mark.parametrize(
    ("ours", "wanted", "terms"),
    [
        pytest.param({}, nodes("a", "b"), [["a"], ["b"]], id="only the user asks for nodes"),
        pytest.param(nodes("spot"), {}, [["spot"]], id="only Tertium does"),
        pytest.param(nodes("spot"), {"nodeAffinity": PREFERRED}, [["spot"]], id="the user only prefers some"),
        pytest.param(
            nodes("spot-1", "spot-2"),
            nodes("a", "b"),
            [["spot-1", "a"], ["spot-1", "b"], ["spot-2", "a"], ["spot-2", "b"]],
            id="both do: a node must satisfy both",
        ),
    ],
)
def test_node_affinity(ours: dict[str, Any], wanted: dict[str, Any], terms: list[list[str]]) -> None:
    pod = {**POD, "spec": {**POD["spec"], **({"affinity": ours} if ours else {})}}
    affinity = laid({"affinity": wanted} if wanted else {}, pod)["spec"]["affinity"]["nodeAffinity"]
    required = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert [[rule["key"] for rule in term["matchExpressions"]] for term in required] == terms
    preferred = "preferredDuringSchedulingIgnoredDuringExecution"
    assert (preferred in affinity) == (preferred in wanted.get("nodeAffinity", {}))


def test_other_affinities_are_the_users() -> None:
    affinity: dict[str, Any] = {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}}
    assert laid({"affinity": affinity})["spec"]["affinity"] == affinity


def expanded(text: str, variables: dict[str, str]) -> str:
    """What Kubernetes makes of an argument (third_party/forked/golang/expansion)."""
    out, at = "", 0
    while at < len(text):
        if text[at] != "$" or at + 1 == len(text):
            out, at = out + text[at], at + 1
        elif text[at + 1] == "$":
            out, at = out + "$", at + 2
        elif text[at + 1] == "(" and ")" in text[at + 2 :]:
            end = text.index(")", at + 2)
            name = text[at + 2 : end]
            out, at = out + variables.get(name, f"$({name})"), end + 1
        else:
            out, at = out + text[at : at + 2], at + 2
    return out


@given(text=st.text(alphabet="$()AHOME \u2028é'\"", max_size=20))
def test_kubernetes_gives_the_engine_what_the_user_wrote(text: str) -> None:
    assert expanded(literal(text), {"HOME": "/root", "A": "x"}) == text
