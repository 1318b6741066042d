"""A model that one GPU is too small for runs on two, and the engine itself says so."""

from __future__ import annotations

import pytest

from e2e.stack import Stack

pytestmark = pytest.mark.e2e


def test_one_gpu_is_too_small_so_two_serve_the_model(stack: Stack, namespace: str) -> None:
    tiny = stack.apply_sample("tiny-llama", namespace)
    tiny.wait_condition("Planned", "True", seconds=60)
    plan = tiny.get()["status"]["plan"]
    assert (plan["gpusPerReplica"], plan["tensorParallelSize"]) == (2, 2)
    assert "1 GPU" in plan["why"]

    answer = stack.caller.chat(tiny.model, max_tokens=8)
    assert answer.status == 200, answer.body

    (pod,) = tiny.pods()
    (container,) = pod["spec"]["containers"]
    assert "--tensor-parallel-size=2" in container["args"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "2"
    log = stack.cluster.kubectl("-n", namespace, "logs", pod["metadata"]["name"])
    assert "tensor_parallel_size=2" in log
    assert "world_size=2" in log
    tiny.delete()
