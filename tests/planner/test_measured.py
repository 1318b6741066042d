"""Measurements and repairs, and the keys they are kept by."""

from __future__ import annotations

from tertium.core.planner import Measured, Memory, Repair, drift_percent, measurement_key, repair_key

FLAGS = ("--tensor-parallel-size=2", "--max-model-len=8192")


def test_a_key_names_everything_a_measurement_depends_on() -> None:
    key = measurement_key("sha256:1", "NVIDIA-L4", "0.32.0", FLAGS)
    assert key == measurement_key("sha256:1", "NVIDIA-L4", "0.32.0", FLAGS[::-1])
    others = {
        measurement_key("sha256:2", "NVIDIA-L4", "0.32.0", FLAGS),
        measurement_key("sha256:1", "NVIDIA-L40S", "0.32.0", FLAGS),
        measurement_key("sha256:1", "NVIDIA-L4", "0.31.0", FLAGS),
        measurement_key("sha256:1", "NVIDIA-L4", "0.32.0", FLAGS[:1]),
        repair_key("sha256:1", "NVIDIA-L4", "0.32.0"),
    }
    assert len(others) == 5
    assert key not in others


def test_drift_is_a_share_of_the_budget() -> None:
    planned = Memory(
        total=11_000,
        budget=10_000,
        weights=5000,
        activation=1000,
        non_torch=300,
        cuda_graph=500,
        kv_cache=1000,
        margin=512,
    )
    seen = Measured(weights=5200, available_kv=2700)
    assert drift_percent(planned, seen) == {"weights": 2, "availableKv": -5}
    assert Repair() == Repair(max_num_seqs=None, enforce_eager=False, least_gpus=1)
