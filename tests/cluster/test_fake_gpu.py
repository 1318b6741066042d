"""The device plugin's own tests."""

import shutil

import pytest

from e2e.cluster.binaries import FAKE_GPU
from e2e.cluster.shell import sh


@pytest.mark.skipif(not shutil.which("go"), reason="Go is not installed")
def test_the_device_plugins_go_tests_pass() -> None:
    assert "ok" in sh("go", "test", "./...", cwd=FAKE_GPU.module, env={"GOFLAGS": "-buildvcs=false"})
