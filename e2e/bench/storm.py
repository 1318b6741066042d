"""Many callers at once for many models that all sleep: one wake each, and everybody is answered.

    python -m e2e.bench.storm [--requests 2000] [--models 50] [--bodies 1024 1048576] [--json FILE]

A real cluster of two nodes with the chart's two gateway pods, each asked for half. Engines are test doubles
that take some seconds to boot, so that all requests are held before the first model answers.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import yaml

from e2e.bench.fleet import say
from e2e.bench.load import Load, put_load
from e2e.bench.usage import forget_peak, peak_mib
from e2e.bench.wake import parse_time
from e2e.bench.watch import Watch
from e2e.cluster import ClusterError
from e2e.doubles import double
from e2e.environment import prepare
from e2e.fleet.api import CORE, LLMDS, Api, path_of
from e2e.fleet.crowd import is_ready, keep_facts
from e2e.stack import SYSTEM, Sample, Stack, delete_namespace, install, make_namespace
from e2e.waiting import until
from tertium.api.meta import ObjectKey

NAMESPACE: Final = "storm"
BOOT_SECONDS: Final = 15
# Longer than a gateway goes on stating a demand that has just been met.
IDLE_SECONDS: Final = 15
LIMIT_SECONDS: Final = 280
SOURCE: Final = "pvc://models/smollm2-135m-instruct"
_OWNER: Final = r"metadata.labels.tertium\.dev/deployment"
_ENGINES: Final = "app.kubernetes.io/component=engine"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """One gateway pod: where it is asked, and its processes on this machine."""

    name: str
    url: str
    envoy: list[int]
    activator: list[int]

    def forget_peak(self) -> None:
        """Measure the most memory from now on."""
        forget_peak(self.envoy + self.activator)

    def peak(self) -> dict[str, float]:
        """The most resident memory since then, MiB."""
        return {"envoy": round(peak_mib(self.envoy)), "activator": round(peak_mib(self.activator))}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one storm. `wakes`: by model, how often its replicas went up from zero; `pods` alike."""

    load: Load
    wakes: Counter[str]
    pods: Counter[str]
    held: int
    """Requests that the gateways' own records of wakes count as held."""


def starts(lines: Sequence[Sequence[str]]) -> Counter[str]:
    """Count by model how often a Deployment's replicas went up from none after it was first seen."""
    found: Counter[str] = Counter()
    before: dict[str, str] = {}
    for _, model, replicas in lines:
        if before.get(model) == "0" and replicas != "0":
            found[model] += 1
        before[model] = replicas
    return found


def storm(
    stack: Stack, samples: Sequence[Sample], gateways: Sequence[Gateway], *, requests: int, body_bytes: int
) -> Outcome:
    """Have all models asked at once while they sleep, and wait until everybody has an answer."""
    (namespace,) = {sample.namespace for sample in samples}

    def nothing_runs() -> bool:
        pods = engine_pods(stack, namespace)
        assert not pods, pods
        return True

    until("no engine pod", nothing_runs, seconds=180, every=1)
    deployments = Watch(stack, namespace, "deployments", _OWNER, "spec.replicas", selector=_ENGINES)
    pods = Watch(stack, namespace, "pods", _OWNER, "metadata.name", selector=_ENGINES)
    until("a look at each Deployment", lambda: len(deployments.events) >= len(samples), seconds=20)
    begun = datetime.now(UTC)
    try:
        load = put_load(
            [gateway.url for gateway in gateways],
            [sample.model for sample in samples],
            connections=requests,
            once=True,
            bodyBytes=body_bytes,
            timeoutSeconds=LIMIT_SECONDS,
        )
        held = until("the record of each wake", lambda: _held(stack, begun, samples, gateways), seconds=20)
    finally:
        deployments.stop()
        pods.stop()
    made = {(owner, name) for _, (event, owner, name) in pods.events if event == "ADDED"}
    wakes = starts([words for _, words in deployments.events])
    return Outcome(load=load, wakes=wakes, pods=Counter(owner for owner, _ in made), held=held)


def _held(
    stack: Stack, since: datetime, samples: Sequence[Sample], gateways: Sequence[Gateway]
) -> int | None:
    """Add up whom the gateways held; each of them has one record of a model's wake. None: one is missing."""
    models = {sample.model for sample in samples}
    records = [
        line
        for line in stack.logs("gateway", "activator")
        if line["event"] == "wake" and line["deployment"] in models and parse_time(line["heldAt"]) >= since
    ]
    if len({line["deployment"] for line in records}) < len(models):
        return None
    return sum(int(line["waiters"]) for line in records)


def engine_pods(stack: Stack, namespace: str) -> list[str]:
    """Names of all engine pods, those on their way out too."""
    return stack.cluster.kubectl("-n", namespace, "get", "pods", "-l", _ENGINES, "-o", "name").split()


def sleeping_models(stack: Stack, namespace: str, products: Sequence[str], *, boot: float) -> list[str]:
    """Return a manifest for each product named: a model on one GPU of it, whose engine is the double."""
    sample = yaml.safe_load((Path(__file__).parents[1] / "samples" / "smollm2.yaml").read_text())
    engine, scaling = double(DOUBLE_BOOT_SECONDS=boot), {"idleSeconds": IDLE_SECONDS}
    manifests = []
    for index, product in enumerate(products):
        metadata = {"name": f"storm-{index:02d}", "namespace": namespace}
        spec = {**sample["spec"], "engine": engine, "accelerators": [{"product": product}]}
        manifests.append(
            yaml.safe_dump({**sample, "metadata": metadata, "spec": {**spec, "scaling": scaling}})
        )
    return manifests


def gateways_of(stack: Stack) -> list[Gateway]:
    """Return the gateway pods that serve. Their processes are found by the pod's uid in their cgroups."""
    selector = ("-l", "app.kubernetes.io/component=gateway")
    listed = stack.cluster.kubectl("-n", SYSTEM, "get", "pods", *selector, "-o", "json")
    found = []
    for pod in json.loads(listed)["items"]:
        if "deletionTimestamp" in pod["metadata"]:
            continue
        pids = list(_processes(pod["metadata"]["uid"]))
        named = {pid: Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") for pid in pids}
        found.append(
            Gateway(
                name=pod["metadata"]["name"],
                url=f"http://{pod['status']['podIP']}:8080",
                envoy=[pid for pid, words in named.items() if words[0].endswith(b"envoy")],
                activator=[pid for pid, words in named.items() if b"gateway" in words and b"run" in words],
            )
        )
    return found


def _processes(uid: str) -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit():
                group = (entry / "cgroup").read_text()
                if uid in group or uid.replace("-", "_") in group:
                    yield int(entry.name)


def apply_crowd(stack: Stack, namespace: str, manifests: Sequence[str]) -> list[Sample]:
    """Apply many deployments of one source, of which the first is inspected and the others know its facts."""
    api = Api(stack.cluster.backend)  # type: ignore[arg-type]
    first = stack.apply(manifests[0])
    first.wait_condition("Ready", "True", seconds=120)
    facts = api.get(path_of(CORE, namespace, "configmaps", f"{first.name}-model"))
    replicas = ("-n", SYSTEM, "scale", "deployment", "tertium-operator")
    stack.cluster.kubectl(*replicas, "--replicas=0")
    selector = "app.kubernetes.io/component=operator"
    operators = ("-n", SYSTEM, "get", "pods", "-l", selector, "-o", "name")
    until("no operator", lambda: not stack.cluster.kubectl(*operators).split(), seconds=60)
    path = path_of(LLMDS, namespace, "llmdeployments")
    for manifest in manifests[1:]:
        keep_facts(api, facts, api.create(path, yaml.safe_load(manifest)))
    stack.cluster.kubectl(*replicas, "--replicas=2")

    def probe() -> bool:
        unready = [item["metadata"]["name"] for item in api.items(path) if not is_ready(item)]
        assert not unready, unready
        return True

    until("all are Ready", probe, seconds=120, every=1)
    found = [ObjectKey.of(item) for item in api.items(path)]
    api.close()
    return [Sample(cluster=stack.cluster, namespace=key.namespace, name=key.name) for key in found]


def row(outcome: Outcome, gateways: Sequence[Gateway], body_bytes: int) -> dict[str, Any]:
    """The figures of one storm."""
    return {
        "body_bytes": body_bytes,
        "requests": sum(outcome.load.errors.values()) + outcome.load.requests,
        "answered_200": outcome.load.requests,
        "others": dict(outcome.load.errors),
        "held": outcome.held,
        "models_woken": len(outcome.wakes),
        "most_wakes_of_a_model": max(outcome.wakes.values(), default=0),
        "pods": outcome.pods.total(),
        "half_answered_s": round(outcome.load.last["p50"] / 1000, 1),
        "last_answer_s": round(outcome.load.last["max"] / 1000, 1),
        "peak_mib": {gateway.name: gateway.peak() for gateway in gateways},
    }


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The table for people."""
    head = (
        *("bodies", "requests", "answered 200", "held", "models", "most wakes of one", "engine pods"),
        *("half answered after s", "all after s", "peak RSS MiB by pod (Envoy + activator)"),
    )
    lines = [f"| {' | '.join(head)} |", "|" + " ---: |" * len(head)]
    for found in rows:
        pods = ", ".join(f"{one['envoy']} + {one['activator']}" for one in found["peak_mib"].values())
        size = f"{found['body_bytes'] // 1024} KiB"
        cells = [found[name] for name in ("requests", "answered_200", "held", "models_woken")]
        cells += [found["most_wakes_of_a_model"], found["pods"]]
        cells += [found["half_answered_s"], found["last_answer_s"], pods]
        lines.append(f"| {size} | {' | '.join(str(cell) for cell in cells)} |")
    return "\n".join(lines)


def main() -> int:
    """Run the benchmark on a cluster of its own."""
    parser = argparse.ArgumentParser(prog="python -m e2e.bench.storm", description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=2000, help="how many at once")
    parser.add_argument("--models", type=int, default=50, help="for how many models")
    parser.add_argument(
        "--bodies", type=int, nargs="+", default=[1024, 2**20], help="sizes, a storm for each"
    )
    parser.add_argument("--cluster", default="storm", help="name of the cluster; it is started if need be")
    parser.add_argument("--keep", action="store_true", help="leave the cluster running")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    args = parser.parse_args()
    each = (args.models + 1) // 2
    gpus = [f"{node}={each}xFake-GPU-24GB:24576" for node in (0, 1)]
    environment = prepare(args.cluster, gpu_nodes=gpus)
    try:
        stack = install(environment.cluster)
        make_namespace(environment, NAMESPACE)
        products = ["Fake-GPU-24GB"] * args.models
        manifests = sleeping_models(stack, NAMESPACE, products, boot=BOOT_SECONDS)
        samples = apply_crowd(stack, NAMESPACE, manifests)
        gateways = gateways_of(stack)
        rows = []
        for body_bytes in args.bodies:
            for gateway in gateways:
                gateway.forget_peak()
            outcome = storm(stack, samples, gateways, requests=args.requests, body_bytes=body_bytes)
            rows.append(row(outcome, gateways, body_bytes))
            say(str(rows[-1]))
    finally:
        delete_namespace(environment.cluster, NAMESPACE)
        if not args.keep:
            environment.cluster.down()
    print(markdown(rows))
    print(json.dumps(rows))
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ClusterError, AssertionError, subprocess.CalledProcessError) as error:
        sys.exit(f"error: {error}")
