"""Write the hash-pinned requirements from pyproject.toml; they name no registry."""

from __future__ import annotations

import subprocess
from pathlib import Path

HERE = Path(__file__).parent
PROJECT = HERE.parent / "pyproject.toml"
OPTIONS = (
    *("--python-version", "3.11", "--generate-hashes", "--quiet", "--no-config"),
    *("--no-emit-index-url", "--no-emit-find-links", "--no-annotate", "--no-header"),
)
ANYWHERE = ("--universal",)
# vLLM's CPU build is one wheel for one kind of machine.
ENGINE = ("--python-platform", "x86_64-manylinux_2_36", "--only-binary", ":all:")


def compile_lock(output: str, *sources: str) -> None:
    """Resolve `sources` into requirements/`output`; raises CalledProcessError when they contradict."""
    subprocess.run(["uv", "pip", "compile", *OPTIONS, *sources, "-o", str(HERE / output)], check=True)


if __name__ == "__main__":
    compile_lock("runtime.txt", *ANYWHERE, str(PROJECT))
    compile_lock("gateway.txt", *ANYWHERE, "--group", f"{PROJECT}:gateway")
    overrides = HERE.parent / "images" / "engine-cpu" / "overrides.txt"
    compile_lock("clients.txt", *ANYWHERE, str(HERE / "clients.in"))
    compile_lock("engine-cpu.txt", *ENGINE, "--override", str(overrides), str(HERE / "engine-cpu.in"))
    for peer in ("peer-vllm-router", "peer-litellm"):
        compile_lock(f"{peer}.txt", *ANYWHERE, str(HERE / f"{peer}.in"))
    compile_lock(
        "dev.txt",
        *ANYWHERE,
        *(str(PROJECT), "--group", f"{PROJECT}:gateway", "--group", f"{PROJECT}:dev"),
        *("-c", str(HERE / "runtime.txt")),
    )
