"""What stands between a caller and the engine: the gateway as in production, and what it is compared with.

Each is started for a `with` block, all with the same number of worker threads, before the same engine.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import yaml

from e2e.bench.usage import family
from e2e.cluster import binaries
from e2e.cluster.cache import keyed
from e2e.cluster.progress import Steps
from e2e.fleet.operator import free_port
from e2e.models.once import made_once
from e2e.waiting import until

ROOT: Final = Path(__file__).resolve().parents[2]
MODEL: Final = "bench/warm"
TOKENS: Final = 16
WORKERS: Final = 2
ENGINE_HOST: Final = "127.77.0.1"
ENGINE_PORT: Final = 8000
_TYPES: Final = "type.googleapis.com/envoy"
_HTTP: Final = f"{_TYPES}.extensions.filters.http"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One way to the engine. `roots` are its processes by name, without those that they start."""

    name: str
    url: str
    roots: Mapping[str, int]

    def pids(self, *names: str) -> list[int]:
        """Its processes, all or those of these names."""
        return [pid for name in names or self.roots for pid in family(self.roots[name])]


class Workshop:
    """Starts programs that end with it; their output goes to files of `folder`."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.folder = folder
        self._stack = stack

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> int:
        """Start a program and return its process id."""
        log = self._stack.enter_context((self.folder / f"{name}.log").open("wb"))
        clean = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**clean, **(environment or {})})
        self._stack.callback(_end, process)
        return process.pid

    def wait(self, subject: Subject, *, seconds: float = 30) -> Subject:
        """Wait until it has the model answer."""
        body = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}

        def probe() -> bool:
            try:
                answer = httpx.post(f"{subject.url}/v1/chat/completions", json=body, trust_env=False)
            except httpx.TransportError as error:
                raise AssertionError(repr(error)) from error
            assert answer.status_code == 200, answer.text[:300]
            return True

        until(f"{subject.name} ({self.folder})", probe, seconds=seconds)
        return subject

    def write(self, name: str, content: Mapping[str, Any]) -> Path:
        """Write a file of configuration."""
        path = self.folder / name
        path.write_text(json.dumps(content))
        return path


def engine(shop: Workshop) -> Subject:
    """The engine double itself: what a caller without anything in between has."""
    program = binaries.build([binaries.ENGINE_DOUBLE], Steps())["engine-double"]
    command = [str(program), "bench", "--served-model-name", MODEL]
    command += ["--host", ENGINE_HOST, "--port", str(ENGINE_PORT)]
    pid = shop.start("engine", command, {"DOUBLE_MAX_TOKENS": str(TOKENS)})
    return shop.wait(Subject(name="direct", url=f"http://{ENGINE_HOST}:{ENGINE_PORT}", roots={"engine": pid}))


def bare_envoy(shop: Workshop, access_log: Sequence[Any] = ()) -> Subject:
    """Envoy with the least that routes by the body's `model`: no limits, no retries, no header touched."""
    port = free_port()
    config = shop.write("bare.json", bare_config(port, access_log))
    pid = shop.start("bare", envoy_command(config))
    return shop.wait(Subject(name="bare Envoy", url=f"http://127.0.0.1:{port}", roots={"envoy": pid}))


def envoy_command(config: Path) -> list[str]:
    """Envoy's command line where it is not the chart's."""
    program = str(Path(sys.executable).with_name("envoy"))
    options = ["--concurrency", str(WORKERS), "--log-level", "warning", "--disable-hot-restart"]
    return [program, "--config-path", str(config), *options]


def bare_config(port: int, access_log: Sequence[Any]) -> dict[str, Any]:
    """The whole configuration of a bare Envoy."""
    found = {"filter": "llm", "path": [{"key": "model"}], "value": {"string_match": {"exact": MODEL}}}
    rule = {"selectors": [{"key": "model"}], "on_present": {"metadata_namespace": "llm", "key": "model"}}
    rules = {"rules": [{**rule, "on_missing": {"metadata_namespace": "llm", "key": "none", "value": "1"}}]}
    route = {
        "match": {"prefix": "/v1/", "dynamic_metadata": [found]},
        "route": {"cluster": "engine", "timeout": "0s"},
    }
    manager = {
        "@type": f"{_TYPES}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bare",
        "access_log": access_log,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {
                "name": "read-model",
                "typed_config": {
                    "@type": f"{_HTTP}.json_to_metadata.v3.JsonToMetadata",
                    "request_rules": rules,
                },
            },
            {"name": "router", "typed_config": {"@type": f"{_HTTP}.router.v3.Router"}},
        ],
    }
    return {
        "node": {"id": "bare", "cluster": "bare"},
        "static_resources": {
            "listeners": [
                {
                    "name": "bare",
                    "address": _address("127.0.0.1", port),
                    "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
                }
            ],
            "clusters": [
                {
                    "name": "engine",
                    "type": "STATIC",
                    "load_assignment": {
                        "cluster_name": "engine",
                        "endpoints": [
                            {"lb_endpoints": [{"endpoint": {"address": _address(ENGINE_HOST, ENGINE_PORT)}}]}
                        ],
                    },
                }
            ],
        },
    }


def vllm_router(shop: Workshop) -> Subject:
    """vLLM's own router, a proxy in Rust, as `pip install vllm-router` brings it."""
    port, metrics = free_port(), free_port()
    command = [peer("vllm-router"), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--worker-urls", f"http://{ENGINE_HOST}:{ENGINE_PORT}", "--policy", "round_robin"]
    command += ["--prometheus-port", str(metrics), "--log-level", "warning"]
    pid = shop.start("vllm-router", command)
    return shop.wait(Subject(name="vllm-router", url=f"http://127.0.0.1:{port}", roots={"router": pid}))


def litellm(shop: Workshop) -> Subject:
    """A LiteLLM proxy, without a database, with the settings that its pages recommend for production."""
    port = free_port()
    parameters = {
        "model": f"hosted_vllm/{MODEL}",
        "api_base": f"http://{ENGINE_HOST}:{ENGINE_PORT}/v1",
        "api_key": "none",
    }
    content = {
        "model_list": [{"model_name": MODEL, "litellm_params": parameters}],
        "litellm_settings": {"telemetry": False, "set_verbose": False},
    }
    path = shop.folder / "litellm.yaml"
    path.write_text(yaml.safe_dump(content))
    command = [peer("litellm"), "--config", str(path), "--host", "127.0.0.1", "--port", str(port)]
    settings = {"LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    # Nobody else asks for keys here either.
    settings |= {"LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true"}
    pid = shop.start("litellm", command, settings)
    subject = Subject(name="LiteLLM", url=f"http://127.0.0.1:{port}", roots={"proxy": pid})
    return shop.wait(subject, seconds=180)


def peer(name: str) -> str:
    """Install a peer from its lock into an environment of its own, once; return its program."""
    lock = ROOT / "requirements" / f"peer-{name}.txt"
    folder = keyed("peers", sys.version, sys.base_prefix, lock)

    def make(unfinished: Path) -> None:
        sys.stderr.write(f"installing {name} ({folder})\n")
        # Relocatable: the folder gets another name when it is whole.
        subprocess.run(
            ["uv", "venv", "--quiet", "--no-config", "--relocatable", "--python", sys.executable, unfinished],
            check=True,
        )
        install = ["uv", "pip", "install", "--quiet", "--no-config", "--require-hashes", "--compile-bytecode"]
        where = ["--python", str(unfinished / "bin" / "python"), "--link-mode", "copy"]
        subprocess.run([*install, *where, "--requirement", str(lock)], check=True)

    made_once(folder, make)
    return str(folder / "bin" / name)


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
