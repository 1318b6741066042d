"""Specs that the API server refuses: what is wrong, the field it names, and the rule in its words.

A row sets one field (a dotted path below `spec`) of a spec that is right otherwise.
"""
# ruff: noqa: E501  (one row, one line)

from __future__ import annotations

from typing import Any, Final

import pytest

GOOD_MODEL: Final = {"source": "pvc://models/smollm2-135m-instruct"}
_AT_LEAST: Final = "should be greater than or equal to"
_AT_MOST: Final = "should be less than or equal to"
_PVC: Final = "a pvc:// source is pvc://CLAIM/PATH, as in pvc://models/qwen3-8b"
_HF: Final = "an hf:// source is hf://ORG/NAME, as in hf://Qwen/Qwen3-8B"
_SCHEME: Final = "unknown scheme; use hf://ORG/NAME or pvc://CLAIM/PATH"
_NO_GPUS: Final = "the plan decides how many GPUs the engine gets"
_OWN_LABELS: Final = "are Tertium's own labels; remove them"
_OWN_ANNOTATIONS: Final = "are Tertium's own annotations; remove them"


def hub(**more: Any) -> dict[str, Any]:
    """A model of a hub."""
    return {"source": "hf://Qwen/Qwen3-8B", **more}


def spec_with(path: str, value: Any) -> dict[str, Any]:
    """A spec that is right but for `value` at `path`; None leaves the field out, an empty path is the spec."""
    spec: dict[str, Any] = {"model": dict(GOOD_MODEL)}
    if not path:
        return {**spec, **value}
    *above, last = path.split(".")
    at = spec
    for name in above:
        at = at.setdefault(name, {})
    if value is None:
        del at[last]
    else:
        at[last] = value
    return spec


def _row(what: str, path: str, value: Any, rule: str, *, field: str | None = None) -> Any:
    """One row; `field` is what the message names, below `spec`, where that is not the field that was set."""
    return pytest.param(spec_with(path, value), f"spec.{path if field is None else field}", rule, id=what)


# fmt: off
REFUSED: Final[tuple[Any, ...]] = (
    _row("no model", "model", None, "Required value"),
    _row("a model without source", "model.source", None, "Required value"),
    _row("a source that is a number", "model.source", 7, "must be of type string"),
    _row("a source of one word", "model.source", "qwen", "should be at least 6 chars long"),
    _row("a source longer than any path", "model.source", "pvc://m/" + "x" * 1024, "Too long: may not be more than 1024"),
    _row("an unknown scheme", "model.source", "ftp://host/model", _SCHEME),
    _row("the address of a hub's page", "model.source", "https://huggingface.co/Qwen/Qwen3-8B", _SCHEME),
    _row("a hub's model without its owner", "model.source", "hf://Qwen3-8B", _HF),
    _row("a hub's model with a blank", "model.source", "hf://Qwen/Qwen3 8B", _HF),
    _row("a hub's model with a folder", "model.source", "hf://Qwen/Qwen3-8B/sub", _HF),
    _row("a claim without a path", "model.source", "pvc://models", _PVC),
    _row("a path that leaves the claim", "model.source", "pvc://models/../etc", _PVC),
    _row("a claim no claim can be called", "model.source", "pvc://Models/x", _PVC),
    _row("a path that a shell would run", "model.source", "pvc://models/$(reboot)", _PVC),
    _row("a path in another script", "model.source", "pvc://models/モデル", _PVC),
    _row("a revision of a claim's folder", "model.revision", "main", "revision goes with an hf:// source only; remove it"),
    _row("credentials for a claim", "model.credentialsSecretRef", {"name": "t"}, "credentialsSecretRef goes with an hf:// source only; remove it"),
    _row("a revision that reads as an option", "model", hub(revision="--upload-pack=x"), "should match", field="model.revision"),
    _row("a Secret no Secret can be called", "model", hub(credentialsSecretRef={"name": "My_Token"}), "should match", field="model.credentialsSecretRef.name"),
    _row("a Secret without name", "model", hub(credentialsSecretRef={}), "Required value", field="model.credentialsSecretRef.name"),
    _row("a served name with a blank", "model.servedName", "gpt 4", "should match"),
    _row("a served name that looks like a full one", "model.servedName", "team-a/model", "should match"),
    _row("a served name in another script", "model.servedName", "模型", "should match"),
    _row("a served name that is too long", "model.servedName", "x" * 129, "Too long: may not be more than 128"),
    _row("a context of nothing", "capacity.contextTokens", 0, f"{_AT_LEAST} 16"),
    _row("a context beyond any model", "capacity.contextTokens", 1 << 40, f"{_AT_MOST} 16777216"),
    _row("half a token", "capacity.contextTokens", 8192.5, "must be of type integer"),
    _row("a context in words", "capacity.contextTokens", "8k", "must be of type integer"),
    _row("a replica for nobody", "capacity.concurrentSequences", 0, f"{_AT_LEAST} 1"),
    _row("an accelerator without product", "accelerators", [{}], "Required value", field="accelerators[0].product"),
    _row("a product with a blank", "accelerators", [{"product": "NVIDIA H100"}], "should match", field="accelerators[0].product"),
    _row("spot in words", "accelerators", [{"product": "A", "spot": "yes"}], "must be of type boolean", field="accelerators[0].spot"),
    _row("the same accelerator twice", "accelerators", [{"product": "A"}, {"product": "A"}], "two entries are the same; remove one, or let them differ in spot"),
    _row("the same spot accelerator twice", "accelerators", [{"product": "A", "spot": True}, {"product": "A", "spot": True}], "two entries are the same"),
    _row("more accelerators than are looked at", "accelerators", [{"product": f"A{n}"} for n in range(17)], "must have at most 16 items"),
    _row("accelerators that are no list", "accelerators", "H100", "must be of type array"),
    _row("no time for a placement", "placementSeconds", 0, f"{_AT_LEAST} 1"),
    _row("a layer split over no GPU", "parallelism.tensor", 0, f"{_AT_LEAST} 1"),
    _row("more stages than there is sense in", "parallelism.pipeline", 65, f"{_AT_MOST} 64"),
    _row("a replica of 512 GPUs", "parallelism", {"tensor": 64, "pipeline": 8}, "tensor times pipeline is more than 256 GPUs for one replica; lower one of them"),
    _row("a precision that does not exist", "precision.kvCache", "fp4", 'supported values: "auto", "fp8IfNeeded", "fp8"'),
    _row("more at least than at most", "scaling", {"minReplicas": 3, "maxReplicas": 2}, "minReplicas is more than maxReplicas (default 1); lower it or raise maxReplicas", field="scaling.minReplicas"),
    _row("more at least than at most by default", "scaling.minReplicas", 2, "minReplicas is more than maxReplicas (default 1)"),
    _row("less than no replica", "scaling.minReplicas", -1, f"{_AT_LEAST} 0"),
    _row("at most no replica", "scaling.maxReplicas", 0, f"{_AT_LEAST} 1"),
    _row("a preference that does not exist", "scaling.preference", "Cheap", 'supported values: "Economy", "Balanced", "Interactive"'),
    _row("an idle time in words", "scaling.idleSeconds", "soon", "must be of type integer"),
    _row("a first token at once", "scaling.targets.timeToFirstTokenMillis", 0, f"{_AT_LEAST} 1"),
    _row("a mode in small letters", "coldStart.mode", "hold", 'supported values: "Hold", "Reject"'),
    _row("a hold of two hours", "coldStart.holdSeconds", 7200, f"{_AT_MOST} 3600"),
    _row("nobody may wait", "coldStart.maxPending", 0, f"{_AT_LEAST} 1"),
    _row("a sign of life after the end", "coldStart", {"holdSeconds": 5, "heartbeatSeconds": 5}, "lower heartbeatSeconds or raise holdSeconds", field="coldStart.heartbeatSeconds"),
    _row("an affinity that does not exist", "routing.affinity", "Sticky", 'supported values: "None", "Prefix"'),
    _row("a prefix of a word", "routing", {"affinity": "Prefix", "prefixCharacters": 4}, f"{_AT_LEAST} 16", field="routing.prefixCharacters"),
    _row("a prefix that nobody compares", "routing.prefixCharacters", 4096, "set affinity to Prefix or remove it"),
    _row("a strategy that does not exist", "rollout.strategy", "BlueGreen", 'supported values: "Surge", "Recreate"'),
    _row("an answer to failure that does not exist", "rollout.onFailure", "Panic", 'supported values: "Wait", "Rollback"'),
    _row("a drain that has ended before", "rollout.drainSeconds", -1, f"{_AT_LEAST} 0"),
    _row("an image with a scheme", "engine.image", "https://docker.io/vllm/vllm-openai", "an image has no scheme; write it as in vllm/vllm-openai:v0.32.0"),
    _row("an image with a blank", "engine.image", "vllm openai", "should match"),
    _row("an engine that starts in a second", "engine.startSeconds", 1, f"{_AT_LEAST} 10"),
    _row("arguments that are one string", "engine.args", "--seed=7", "must be of type array"),
    _row("an argument that is a number", "engine.args", ["--seed", 7], "must be of type string", field="engine.args[1]"),
    _row("an empty argument", "engine.args", [""], "should be at least 1 chars long", field="engine.args[0]"),
    _row("an argument no process can be given", "engine.args", ["--a\0b"], "should match", field="engine.args[0]"),
    _row("an argument longer than a page", "engine.args", ["x" * 4097], "Too long: may not be more than 4096", field="engine.args[0]"),
    _row("more arguments than are taken", "engine.args", ["-x"] * 65, "must have at most 64 items"),
    _row("a variable with a blank", "engine.env", [{"name": "A B"}], "should match", field="engine.env[0].name"),
    _row("a variable in another script", "engine.env", [{"name": "变量"}], "should match", field="engine.env[0].name"),
    _row("a variable without name", "engine.env", [{"value": "x"}], "Required value", field="engine.env[0].name"),
    _row("a variable that is a number", "engine.env", [{"name": "A", "value": 7}], "must be of type string", field="engine.env[0].value"),
    _row("a variable twice", "engine.env", [{"name": "A"}, {"name": "A"}], "Duplicate value", field="engine.env[1]"),
    _row("a variable from elsewhere", "engine.env", [{"name": "A", "valueFrom": {}}], "unknown field", field="engine.env[0].valueFrom"),
    _row("a label of Tertium", "template.labels", {"tertium.dev/deployment": "x"}, _OWN_LABELS),
    _row("a label all know Tertium's pods by", "template.labels", {"app.kubernetes.io/component": "x"}, _OWN_LABELS),
    _row("a label with a blank", "template.labels", {"team": "a b"}, "should match", field="template.labels.team"),
    _row("a label that is a number", "template.labels", {"team": 7}, "must be of type string", field="template.labels.team"),
    _row("an annotation of Tertium", "template.annotations", {"tertium.dev/x": "x"}, _OWN_ANNOTATIONS),
    _row("which replica goes first", "template.annotations", {"controller.kubernetes.io/pod-deletion-cost": "1"}, _OWN_ANNOTATIONS),
    _row("more annotations than are taken", "template.annotations", {f"a{n}": "" for n in range(33)}, "must have at most 32 items"),
    _row("the product by a selector", "template.nodeSelector", {"nvidia.com/gpu.product": "A"}, "spec.accelerators chooses the GPU's product; remove nvidia.com/gpu.product"),
    _row("a toleration of nothing", "template.tolerations", [{}], "a toleration of every taint has operator Exists; add it or a key", field="template.tolerations[0]"),
    _row("a taint of any value and of one", "template.tolerations", [{"key": "a", "operator": "Exists", "value": "b"}], "operator Exists takes no value; remove it or use Equal", field="template.tolerations[0].value"),
    _row("a time for a taint that drives nobody out", "template.tolerations", [{"key": "a", "tolerationSeconds": 5}], "tolerationSeconds goes with effect NoExecute only", field="template.tolerations[0].tolerationSeconds"),
    _row("a number of GPUs", "template.resources.limits", {"nvidia.com/gpu": 8}, _NO_GPUS),
    _row("a slice of a GPU", "template.resources.requests", {"nvidia.com/mig-1g.5gb": 1}, _NO_GPUS),
    _row("less than no processor", "template.resources.requests", {"cpu": -1}, f"{_AT_LEAST} 0", field="template.resources.requests.cpu"),
    _row("a quantity with a blank", "template.resources.requests", {"memory": "64 GB"}, "should match", field="template.resources.requests.memory"),
    _row("a volume no volume can be called", "template.volumes", [{"name": "My_Volume"}], "should match", field="template.volumes[0].name"),
    _row("a volume twice", "template.volumes", [{"name": "a"}, {"name": "a"}], "Duplicate value", field="template.volumes[1]"),
    _row("a mount without a root", "template.volumeMounts", [{"name": "a", "mountPath": "data"}], "should match", field="template.volumeMounts[0].mountPath"),
    _row("two mounts at one path", "template.volumeMounts", [{"name": name, "mountPath": "/x"} for name in "ab"], "Duplicate value", field="template.volumeMounts[1]"),
    _row("an account no account can be called", "template.serviceAccountName", "Default", "should match"),
    _row("an affinity that is a list", "template.affinity", [], "must be of type object"),
    _row("a part of the pod that is not offered", "template.hostNetwork", True, "unknown field"),
    _row("a pinned number below none", "replicas", -1, f"{_AT_LEAST} 0"),
    _row("a pinned number beyond any cluster", "replicas", 1001, f"{_AT_MOST} 1000"),
    _row("a suspension in words", "suspend", "yes", "must be of type boolean"),
    _row("an end before the start", "expireAfterSeconds", 1, f"{_AT_LEAST} 60"),
    _row("idle for longer than a year", "deleteAfterIdleSeconds", 31_536_001, f"{_AT_MOST} 31536000"),
    _row("never idle, deleted when idle", "", {"deleteAfterIdleSeconds": 600, "scaling": {"minReplicas": 1}}, "set scaling.minReplicas to 0 or remove deleteAfterIdleSeconds", field="deleteAfterIdleSeconds"),
    _row("idle for longer than it lives", "", {"deleteAfterIdleSeconds": 600, "expireAfterSeconds": 600}, "make deleteAfterIdleSeconds less than expireAfterSeconds, or remove one", field="deleteAfterIdleSeconds"),
    _row("a field that does not exist", "nonsense", 1, "unknown field"),
    _row("a field in another spelling", "scaling.min_replicas", 1, "unknown field"),
)
# fmt: on


def largest_spec() -> dict[str, Any]:
    """A spec with every field set, every list and map full and every string as long as it may be."""
    name, label, path = "x" * 253, "x" * 63, "/" + "x" * 1021
    numbers = range(64)

    def quantities() -> dict[str, str]:
        return {f"example.com/r{number}": "1" * 32 for number in range(32)}

    return {
        "model": {
            "source": f"hf://{'x' * 509}/{'x' * 509}",
            "revision": "x" * 128,
            "credentialsSecretRef": {"name": name},
            "servedName": "x" * 128,
        },
        "capacity": {"contextTokens": 16_777_216, "concurrentSequences": 4096},
        "accelerators": [{"product": f"{number:x<63}", "spot": True} for number in range(16)],
        "placementSeconds": 3600,
        "parallelism": {"tensor": 64, "pipeline": 4},
        "precision": {"kvCache": "fp8IfNeeded"},
        "scaling": {
            "minReplicas": 0,
            "maxReplicas": 1000,
            "preference": "Interactive",
            "idleSeconds": 604_800,
            "targets": {"timeToFirstTokenMillis": 3_600_000, "timePerOutputTokenMillis": 60_000},
        },
        "coldStart": {
            "mode": "Hold",
            "holdSeconds": 3600,
            "maxPending": 100_000,
            "heartbeatSeconds": 60,
            "warmUp": True,
            "maxHoldSeconds": 3600,
        },
        "routing": {"affinity": "Prefix", "prefixCharacters": 65_536},
        "rollout": {"strategy": "Recreate", "onFailure": "Rollback", "drainSeconds": 3600},
        "engine": {
            "image": "x" * 512,
            "startSeconds": 86_400,
            "args": [f"--{number:x<4094}" for number in numbers],
            "env": [{"name": f"V{number:x<255}", "value": "x" * 4096} for number in numbers],
        },
        "template": {
            "labels": {f"example.com/{number:x<63}": label for number in numbers},
            "annotations": {f"example.com/{number:x<63}": "x" * 4096 for number in range(32)},
            "nodeSelector": {f"example.com/{number:x<63}": label for number in range(32)},
            "tolerations": [
                {
                    "key": f"{name}/{number:x<63}",
                    "operator": "Equal",
                    "value": label,
                    "effect": "NoExecute",
                    "tolerationSeconds": 31_536_000,
                }
                for number in range(32)
            ],
            "affinity": {"nodeAffinity": {}},
            "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": f"{n:x<63}"} for n in range(16)],
            "resources": {"requests": quantities(), "limits": quantities()},
            "priorityClassName": name,
            "runtimeClassName": name,
            "serviceAccountName": name,
            "schedulerName": name,
            "volumes": [{"name": f"{number:x<63}", "emptyDir": {}} for number in range(32)],
            "volumeMounts": [
                {"name": f"{number:x<63}", "mountPath": f"{path}{number:02}"} for number in range(32)
            ],
            "imagePullSecrets": [{"name": f"{number:x<253}"} for number in range(16)],
            "securityContext": {"runAsNonRoot": True},
        },
        "replicas": 1000,
        "suspend": True,
        "expireAfterSeconds": 31_536_000,
        "deleteAfterIdleSeconds": 31_535_999,
    }
