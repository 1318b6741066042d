"""The main job, shown: apply, a held first request, its answer, a stream, idleness, zero, a second wake.

python -m e2e.demo [--cluster tertium] [--teardown]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

from e2e.cluster import ClusterError
from e2e.environment import Environment, prepare
from e2e.stack import ROOT, SAMPLES, Sample, Stack, install, make_namespace
from e2e.waiting import until

NAMESPACE: Final = "demo"
LOADING: Final = "vLLM's container is running; the engine loads"


class Timeline:
    """Prints a line for everything that happens, with the seconds since the demo and its part began."""

    def __init__(self) -> None:
        self._start = self._part = time.monotonic()

    def part(self, title: str) -> None:
        """Begin a part."""
        self._part = time.monotonic()
        print(f"\n━━ {title}", flush=True)

    def note(self, text: str) -> None:
        """Say that something has happened now."""
        now = time.monotonic()
        print(f"  {now - self._start:7.2f} s  (+{now - self._part:6.2f})  {text}", flush=True)

    def show(self, text: str) -> None:
        """Print what a command printed."""
        for line in text.rstrip().splitlines():
            print(f"              │ {line}", flush=True)


class StartReporter:
    """While a request is held: tells each step of the engine's pod the moment the API shows it."""

    def __init__(self, sample: Sample, timeline: Timeline) -> None:
        self._sample = sample
        self._timeline = timeline
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> StartReporter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        told: set[str] = set()
        while not self._stop.wait(0.2):
            for pod in self._sample.pods():
                for step in _steps(pod):
                    if step not in told:
                        told.add(step)
                        self._timeline.note(step)
                        if step == LOADING:
                            self._timeline.show(show(self._sample))


def _steps(pod: dict[str, Any]) -> Iterator[str]:
    yield f"pod {pod['metadata']['name']} created"
    conditions = {c["type"]: c["status"] for c in pod["status"].get("conditions", [])}
    if conditions.get("PodScheduled") == "True":
        yield f"scheduled on {pod['spec'].get('nodeName')}"
    for container in pod["status"].get("containerStatuses", []):
        if "running" in container["state"]:
            yield LOADING
    if conditions.get("Ready") == "True":
        yield "the kubelet's probe says Ready"


def demo(environment: Environment, timeline: Timeline) -> None:
    """Run every part; raises AssertionError when one does not show what it must."""
    cluster = environment.cluster
    timeline.part("helm install")
    stack = install(cluster)
    timeline.note("operator and gateway serve")
    make_namespace(environment, NAMESPACE)

    manifest = SAMPLES / "smollm2.yaml"
    timeline.part(f"kubectl -n {NAMESPACE} apply -f {manifest.relative_to(ROOT)}")
    cluster.kubectl("-n", NAMESPACE, "apply", "-f", manifest)
    sample = Sample(cluster=cluster, namespace=NAMESPACE, name="smollm2")
    sample.wait_condition("Ready", "True", seconds=60)
    timeline.note("inspected, planned, and Ready while asleep")
    timeline.show(show(sample))

    timeline.part("the first request: held while the model wakes")
    ask(stack, sample, timeline)
    sample.wait_condition("Active", "True", seconds=20)
    timeline.show(show(sample))
    timeline.note(f"the start by its parts: {parts_of_start(sample)}")

    timeline.part("a streamed answer from the warm model")
    with stack.caller.stream(sample.model) as pieces:
        timeline.note("the stream is open")
        sys.stdout.write("              │ ")
        for piece in pieces:
            sys.stdout.write(piece)
            sys.stdout.flush()
        print()
    timeline.note("stream ended")

    timeline.part("nobody asks: idle, then zero")
    until("zero pods", lambda: sample.pods(terminating=True) == [], seconds=240)
    timeline.note("0 pods, the GPUs are free")
    sample.wait_condition("Active", "False", seconds=20)
    timeline.show(show(sample))

    timeline.part("the second wake")
    ask(stack, sample, timeline)
    sample.delete()
    timeline.note("deployment deleted; what it owned goes with it")


def show(sample: Sample) -> str:
    """What `kubectl get llmd` prints."""
    return sample.cluster.kubectl("-n", sample.namespace, "get", "llmd", "-o", "wide")


def parts_of_start(sample: Sample) -> str:
    """The last start as the status has it, in seconds."""
    last = sample.get()["status"]["coldStart"]["last"]
    parts = [f"{phase['name']} {phase['millis'] / 1000:.0f} s" for phase in last["phases"]]
    return f"{', '.join(parts)}; together {last['totalMillis'] / 1000:.0f} s"


def ask(stack: Stack, sample: Sample, timeline: Timeline) -> None:
    """Ask the sleeping model, telling each step of its start."""
    timeline.note(f'POST /v1/chat/completions {{"model": "{sample.model}", …}}')
    with StartReporter(sample, timeline):
        answer = stack.caller.chat(sample.model)
    assert answer.status == 200, answer.body
    assert "Paris" in answer.text, answer.text
    timeline.note(f"HTTP 200 after {answer.seconds:.2f} s: {answer.text!r}")


@contextmanager
def errors_as_sentences() -> Iterator[None]:
    """Turn what can go wrong outside the demo's own code into one message."""
    try:
        yield
    except subprocess.CalledProcessError as error:
        sys.exit(f"demo: {' '.join(map(str, error.cmd))} failed:\n{error.stderr or error.stdout}")
    except (ClusterError, AssertionError) as error:
        sys.exit(f"demo: {error}")


def main() -> int:
    """Run the demo."""
    parser = argparse.ArgumentParser(prog="python -m e2e.demo", description=__doc__.splitlines()[0])
    parser.add_argument("--cluster", default="tertium", help="name of the cluster; it is started if need be")
    parser.add_argument("--teardown", action="store_true", help="stop the cluster at the end")
    args = parser.parse_args()
    print(f"Tertium's main job on real parts, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC")
    timeline = Timeline()
    with errors_as_sentences():
        environment = prepare(args.cluster)
        timeline.note("cluster, images, engine and models are there")
        demo(environment, timeline)
        if args.teardown:
            environment.cluster.down()
            timeline.note("cluster stopped")
    if not args.teardown:
        print(f"\nThe cluster still runs: export KUBECONFIG={environment.cluster.kubeconfig}")
        print("`make cluster-down` stops it; nothing stays running or mounted.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
