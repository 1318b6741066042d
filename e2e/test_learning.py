"""A GPU with less memory than its node's label says: the engine's own refusal makes the next plan right."""

from __future__ import annotations

import json

import pytest
import yaml

from e2e.stack import SAMPLES, Stack

pytestmark = pytest.mark.e2e


def test_a_caller_is_answered_although_the_first_plan_rested_on_a_wrong_label(
    stack: Stack, namespace: str
) -> None:
    manifest = yaml.safe_load((SAMPLES / "tiny-llama.yaml").read_text())
    manifest["metadata"]["namespace"] = namespace
    manifest["spec"]["accelerators"] = [{"product": "Fake-GPU-24GB"}]
    # The label says 24 GiB. The engine finds 1 GiB for its cache, in which the last block does not fit.
    manifest["spec"]["engine"] = {"env": [{"name": "VLLM_CPU_KVCACHE_SPACE", "value": "1"}]}
    tiny = stack.apply(yaml.safe_dump(manifest))
    tiny.wait_condition("Planned", "True", seconds=60)
    assert tiny.get()["status"]["plan"]["tensorParallelSize"] == 1

    answer = stack.caller.chat(tiny.model, max_tokens=8)
    assert answer.status == 200, answer.body

    status = tiny.get()["status"]
    assert status["plan"]["tensorParallelSize"] == 2
    assert "Learned from the engine: it did not start on fewer than 2 GPUs" in status["plan"]["why"]
    assert "startFailures" not in status
    learned = stack.cluster.kubectl(
        "-n", namespace, "get", "configmap", f"{tiny.name}-learned", "-o", "jsonpath={.data.learned\\.json}"
    )
    (repair,) = json.loads(learned)["repairs"].values()
    assert repair["least_gpus"] == 2
    tiny.delete()
