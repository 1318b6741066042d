"""A changed spec replaces running replicas unnoticed by callers; one that cannot start takes nothing down."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest

from e2e.caller import Answer
from e2e.doubles import applied, double
from e2e.stack import Sample, Stack
from e2e.waiting import until

pytestmark = pytest.mark.e2e

REVISION: Final = "tertium.dev/revision"


def engine(mark: str, **variables: str) -> dict[str, Any]:
    """The engine double; another `mark` is another revision."""
    pace = {"DOUBLE_TTFT_MILLIS": "20", "DOUBLE_TOKENS_PER_SECOND": "50"}
    return double(MARK=mark, **{**pace, **variables})


@contextmanager
def running(stack: Stack, name: str, namespace: str, **spec: Any) -> Iterator[Sample]:
    """A deployment that serves, for the length of a test."""
    more = {
        "engine": engine("one"),
        "rollout": {"drainSeconds": 20},
        "replicas": 1,
        "scaling": {"maxReplicas": 3, "idleSeconds": 600},
        **spec,
    }
    with applied(stack, name, namespace, **more) as sample:
        sample.wait_condition("Active", "True", seconds=90)
        assert stack.caller_until_routed(sample.model).status == 200
        yield sample


def change(sample: Sample, **spec: Any) -> None:
    """Change fields of the spec."""
    patch = json.dumps({"spec": spec})
    sample.cluster.kubectl("-n", sample.namespace, "patch", "llmd", sample.name, "--type=merge", "-p", patch)


def revisions(sample: Sample) -> list[str]:
    """The revision of every engine pod that is not on its way out."""
    return sorted(pod["metadata"]["labels"][REVISION] for pod in sample.pods())


def replaced(sample: Sample, old: str, *, count: int = 1) -> Callable[[], bool]:
    """Whether only replicas of one other revision are left, and all answer."""

    def probe() -> bool:
        found, status = revisions(sample), sample.get()["status"]
        assert len(found) == count, found
        assert old not in found, found
        assert status["readyReplicas"] == count, status
        assert status["rollout"] == {
            "revision": found[0],
            "servingRevision": found[0],
            "firstDifference": "",
        }, status
        return True

    return probe


DOZEN: Final = 12


class Callers:
    """Callers that ask one after another without a pause, a dozen times at least, and keep what they got."""

    def __init__(self, stack: Stack, model: str, *, count: int = 2) -> None:
        self.answers: list[Answer] = []
        self._stack, self._model = stack, model
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(count)]

    def _run(self) -> None:
        while not self._stop.is_set() or len(self.answers) < DOZEN:
            self.answers.append(self._stack.caller.chat(self._model, max_tokens=16))

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def none_failed(self) -> None:
        """Assert that every request was answered."""
        failed = [answer for answer in self.answers if answer.status != 200]
        assert not failed, f"{len(failed)} of {len(self.answers)} failed: {failed[0].status} {failed[0].body}"
        assert len(self.answers) >= DOZEN


class Watcher:
    """Looks at the pods all the time and keeps the most there were and the fewest that answered."""

    def __init__(self, sample: Sample) -> None:
        self.most, self.fewest_ready = 0, 99
        self._sample = sample
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.is_set():
            # A pod whose containers have ended holds no GPU any more.
            pods = [
                pod
                for pod in self._sample.pods(terminating=True)
                if pod["status"]["phase"] in ("Pending", "Running")
            ]
            ready = [pod for pod in pods if _is_ready(pod)]
            self.most = max(self.most, len(pods))
            self.fewest_ready = min(self.fewest_ready, len(ready))
            time.sleep(0.1)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def _is_ready(pod: dict[str, Any]) -> bool:
    if "deletionTimestamp" in pod["metadata"]:
        return False
    conditions = pod["status"].get("conditions", [])
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)


def test_a_surge_loses_no_request_and_takes_one_replica_more(stack: Stack, namespace: str) -> None:
    with running(stack, "surge", namespace, replicas=2) as sample:
        old = revisions(sample)[0]
        until("two replicas", lambda: sample.get()["status"]["readyReplicas"] == 2, seconds=60)
        with Callers(stack, sample.model) as callers, Watcher(sample) as seen:
            change(sample, engine=engine("two"))
            progressing = until("the rollout is said", lambda: _rolling(sample), seconds=20)
            until("replaced", replaced(sample, old, count=2), seconds=120)
        callers.none_failed()
        assert (seen.most, seen.fewest_ready) == (3, 2)
        assert "spec.engine.env[MARK]" in progressing["message"]
        until("the old Deployment is gone", lambda: len(_deployments(sample)) == 1, seconds=40)


def _deployments(sample: Sample) -> list[str]:
    return [child for child in sample.children() if child.startswith("Deployment/")]


def _rolling(sample: Sample) -> dict[str, Any] | None:
    condition = sample.condition("Progressing")
    return condition if condition["reason"] == "RollingOut" else None


def test_a_recreate_holds_requests_until_the_new_replica_answers(stack: Stack, namespace: str) -> None:
    recreate = {"strategy": "Recreate", "drainSeconds": 20}
    with running(stack, "recreate", namespace, rollout=recreate) as sample:
        old = revisions(sample)[0]
        with Callers(stack, sample.model) as callers, Watcher(sample) as seen:
            change(sample, engine=engine("two"))
            until("replaced", replaced(sample, old), seconds=120)
        callers.none_failed()
        assert (seen.most, seen.fewest_ready) == (1, 0)


def test_an_answer_under_way_is_finished_by_the_replica_that_goes(stack: Stack, namespace: str) -> None:
    slow = engine("one", DOUBLE_TOKENS_PER_SECOND="4", DOUBLE_MAX_TOKENS="40")
    with running(stack, "drain", namespace, engine=slow) as sample:
        old = revisions(sample)[0]
        with stack.caller.stream(sample.model, max_tokens=40) as pieces:
            first = next(pieces)
            change(sample, engine=engine("two"))
            until("replaced", replaced(sample, old), seconds=120)
            rest = list(pieces)
        assert len([first, *rest]) >= 40


def test_a_revision_that_cannot_start_leaves_the_old_one_and_a_fixed_spec_is_tried_at_once(
    stack: Stack, namespace: str
) -> None:
    with running(stack, "broken", namespace) as sample:
        (old,) = revisions(sample)
        with Callers(stack, sample.model) as callers:
            change(sample, engine=engine("two", DOUBLE_FAULT="crash_on_boot=ValueError: no such thing"))

            def failed() -> bool:
                condition = sample.condition("Progressing")
                assert condition["reason"] == "RolloutFailed", condition
                assert "no such thing" in condition["message"], condition
                return revisions(sample) == [old]

            until("it failed and its GPU is free", failed, seconds=90)
            assert sample.condition("Ready")["status"] == "True"
            fixed = time.monotonic()
            change(sample, engine=engine("three"))
            until("replaced", replaced(sample, old), seconds=120)
            assert time.monotonic() - fixed < 55, "a changed spec must not wait for the rest after a failure"
        callers.none_failed()


def test_a_rollback_starts_the_old_revision_again(stack: Stack, namespace: str) -> None:
    rollout = {"strategy": "Recreate", "onFailure": "Rollback", "drainSeconds": 20}
    with running(stack, "rollback", namespace, rollout=rollout) as sample:
        (old,) = revisions(sample)
        change(sample, engine=engine("two", DOUBLE_FAULT="crash_on_boot=ValueError: no such thing"))

        def returned() -> bool:
            condition = sample.condition("Progressing")
            assert condition["reason"] == "RolledBack", condition
            assert "no such thing" in condition["message"], condition
            assert sample.get()["status"]["readyReplicas"] == 1
            return revisions(sample) == [old]

        until("the old revision serves again", returned, seconds=120)
        assert stack.caller.chat(sample.model).status == 200


def test_a_changed_count_restarts_nobody_and_the_busy_replica_stays(stack: Stack, namespace: str) -> None:
    slow = engine("one", DOUBLE_TOKENS_PER_SECOND="4", DOUBLE_MAX_TOKENS="80")
    with running(stack, "fewer", namespace, engine=slow) as sample:
        (first,) = sample.pods()
        with stack.caller.stream(sample.model, max_tokens=80) as pieces:
            next(pieces)
            change(sample, replicas=2)
            until("two replicas", lambda: sample.get()["status"]["readyReplicas"] == 2, seconds=60)
            names = {pod["metadata"]["name"] for pod in sample.pods()}
            assert first["metadata"]["name"] in names
            change(sample, replicas=1)
            until("one replica", lambda: len(sample.pods()) == 1, seconds=30)
            assert sample.pods()[0]["metadata"]["name"] == first["metadata"]["name"]
            assert len(list(pieces)) >= 78
