"""Puts questions to the pinned vLLM in a process of its own, with its own packages."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from e2e.cluster.cache import keyed
from e2e.models.once import made_once

REPOSITORY: Final = Path(__file__).resolve().parents[2]
SIZES: Final = tuple(range(1, 17))
CONTEXTS: Final = (2048, 8192, 131_072)
BATCHED_TOKENS: Final = 8192
PYTHON: Final = "3.11"

# The engine of the tests does without it; many model classes want it when they are imported.
_TORCHVISION: Final = "torchvision==0.28.0"


def questions(configs: Mapping[str, Any], sizes: Sequence[int] = SIZES) -> Iterator[dict[str, Any]]:
    """One question a model."""
    for name, config in configs.items():
        yield {"id": name, "config": config, "tensor": list(sizes), "contexts": list(CONTEXTS)}


def ask(asked: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield vLLM's answer to each question, in order. Raises CalledProcessError when vLLM ends early."""
    lines = [json.dumps(question) + "\n" for question in asked]
    command, environment = program("engine")
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=REPOSITORY,
        env=environment,
    ) as engine:
        assert engine.stdin is not None
        assert engine.stdout is not None
        for line in lines:
            engine.stdin.write(line)
            engine.stdin.flush()
            answer = engine.stdout.readline()
            if not answer:
                raise subprocess.CalledProcessError(engine.wait(), command)
            yield json.loads(answer)
        engine.stdin.close()


def options() -> list[str]:
    """Every option of the pinned `vllm serve`."""
    found: list[str] = _run("arguments", "options", given="")
    return found


def parse(command_lines: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    """What the pinned `vllm serve` reads from each command line, or `{"refused": why}`."""
    found: list[dict[str, Any]] = _run("arguments", given=json.dumps([list(line) for line in command_lines]))
    return found


def program(module: str) -> tuple[list[str], dict[str, str]]:
    """Command and environment of a module that runs with the engine's packages."""
    python = sys.executable if _is_python() else f"python{PYTHON}"
    path = os.pathsep.join(map(str, (REPOSITORY, *packages())))
    return [python, "-m", f"e2e.oracle.{module}"], os.environ | {"PYTHONPATH": path}


def _run(module: str, *arguments: str, given: str) -> Any:
    command, environment = program(module)
    done = subprocess.run(
        [*command, *arguments],
        input=given,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=REPOSITORY,
        env=environment,
    )
    return json.loads(done.stdout)


def packages() -> tuple[Path, Path]:
    """The folders of vLLM and of torchvision; installed when they are not there."""
    script = [sys.executable, "images/engine-cpu/packages.py", "--python-version", PYTHON]
    done = subprocess.run(script, check=True, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    beside = keyed("oracle", _TORCHVISION, PYTHON)
    beside.parent.mkdir(parents=True, exist_ok=True)
    made_once(beside, functools.partial(_install, _TORCHVISION))
    return Path(done.stdout.strip()), beside


def _install(requirement: str, folder: Path) -> None:
    uv = shutil.which("uv")
    installer = (
        [uv, "pip", "install", "--quiet"] if uv else [sys.executable, "-m", "pip", "install", "--quiet"]
    )
    wanted = ["--no-deps", "--python-version", PYTHON, "--only-binary", ":all:", "--target", str(folder)]
    subprocess.run([*installer, *wanted, requirement], check=True)


def _is_python() -> bool:
    return sys.version_info[:2] == tuple(map(int, PYTHON.split(".")))
