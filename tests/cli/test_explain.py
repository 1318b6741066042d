"""`tertium explain` on snapshots: the decision, its rule, what would be done, and that nothing is written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tertium.api.meta import ObjectKey
from tertium.cli import main
from tertium.kube.client import KubeCluster
from tertium.kube.cluster import DEPLOYMENT
from tertium.runtime.snapshot import REDACTED, take_snapshot, write_snapshot
from tests.factories import KEY, NOW, POLICY, a_manifest, a_pod_manifest, at
from tests.fakes.cluster import FakeCluster
from tests.runtime.world import World

CRASHED = {
    "phase": "Running",
    "containerStatuses": [
        {
            "name": "engine",
            "state": {"terminated": {"exitCode": 1, "finishedAt": at(-1), "startedAt": at(-9)}},
        }
    ],
}


async def settled(spec: dict[str, Any] | None = None) -> World:
    world = World(spec)
    await world.settle_inspected()
    return world


def save(world: World, path: Path, *, values: bool = True) -> Path:
    snapshot = asyncio.run(take_snapshot(world.cluster, KEY, POLICY, world.clock.now(), reports=None))
    write_snapshot(snapshot, path, values=values)
    return path


@pytest.fixture
def asleep(tmp_path: Path) -> Path:
    return save(asyncio.run(settled()), tmp_path / "snapshot.yaml")


def test_a_deployment_at_rest_is_explained(asleep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "--observed", str(asleep)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("team-a/qwen at 2026-11-21T12:00:00Z\n\ndecision   0 replicas: no request waits\n")
    assert "\nrule       stay_awake: " in out
    assert "\nplan       1 GPU GPU-24GB per replica\n" in out
    assert "\n  Ready        True     Ready " in out
    assert out.endswith("would do\n  nothing: all is as it should be\n")


def test_another_spec_in_the_same_world_shows_what_would_be_applied(
    asleep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = a_manifest({"scaling": {"minReplicas": 1}})
    changed["metadata"] = {"name": "qwen", "namespace": "team-a"}
    file = tmp_path / "cr.yaml"
    file.write_text(yaml.safe_dump(changed))
    assert main(["explain", "-f", str(file), "--observed", str(asleep)]) == 0
    out = capsys.readouterr().out
    assert "decision   1 replica: spec.scaling.minReplicas\nrule       stay_in_bounds: Keep between" in out
    assert " 0 -> 1\n  wrote status\n" in out

    assert main(["explain", "-f", str(file), "--observed", str(asleep), "-o", "yaml"]) == 0
    applied = list(yaml.safe_load_all(capsys.readouterr().out))
    assert [manifest["kind"] for manifest in applied] == ["Deployment", "LLMDeployment"]
    assert applied[0]["spec"]["replicas"] == 1
    assert applied[1]["status"]["scaling"]["desired"] == 1


def test_a_deployment_that_is_not_there_yet_is_explained_as_if_it_had_been_applied(
    asleep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = a_manifest()
    new["metadata"] = {"name": "new"}
    file = tmp_path / "cr.yaml"
    file.write_text(yaml.safe_dump(new))
    assert main(["explain", "-f", str(file), "-n", "team-b", "--observed", str(asleep)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("team-b/new at ")
    assert "\nwould do\n  created Lease new-demand\n" in out


def test_a_spec_that_cannot_work_is_explained(
    asleep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "cr.yaml"
    file.write_text(yaml.safe_dump(a_manifest({"engine": {"args": ["--port=1"]}})))
    assert main(["explain", "-f", str(file), "--observed", str(asleep)]) == 0
    out = capsys.readouterr().out
    assert "\ndecision   refused: spec.engine.args" in out
    assert "\n  Accepted     False    " in out
    assert "\n  event Warning Refused: " in out


def test_values_of_environment_variables_are_left_out_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = asyncio.run(settled({"engine": {"env": [{"name": "TOKEN", "value": "hunter2"}]}}))
    file = save(world, tmp_path / "snapshot.yaml", values=False)
    assert "hunter2" not in file.read_text()
    assert REDACTED in file.read_text()
    assert main(["explain", "--observed", str(file)]) == 0
    assert "Save it --with-values to see the same" in capsys.readouterr().out


def test_other_deployments_are_in_it_only_as_far_as_they_claim_a_name(tmp_path: Path) -> None:
    world = asyncio.run(settled())
    other = a_manifest({"model": {"source": "pvc://secret/plans"}}, key=ObjectKey("team-b", "other"), uid="2")
    world.cluster.put({**other, "status": {"url": "http://x"}})
    file = save(world, tmp_path / "snapshot.yaml")
    assert "secret" not in file.read_text()
    assert "team-b" in file.read_text()


class LiveCluster(FakeCluster):
    """A cluster whose operator is installed and whose gateway does not answer."""

    async def ask_pod(self, key: ObjectKey, port: int, path: str) -> str:
        return "not a report"


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> World:
    """A cluster with one deployment whose engine has crashed, and an operator with other settings."""
    world = asyncio.run(settled({"scaling": {"minReplicas": 1}}))
    world.put_pod(CRASHED)
    world.cluster.logs[("qwen-engine-1", "engine")] = "ValueError: odd\n"
    world.cluster.__class__ = LiveCluster
    labels = {"app.kubernetes.io/name": "tertium", "app.kubernetes.io/component": "operator"}
    environment = {
        "TERTIUM_ENGINE_IMAGE": POLICY.engine_image,
        "TERTIUM_OPERATOR_IMAGE": POLICY.operator_image,
        "TERTIUM_GATEWAY_URL": POLICY.gateway_url,
        "TERTIUM_GATEWAY_NAMESPACE": "system",
    }
    variables = [{"name": name, "value": value} for name, value in environment.items()]
    containers = [{"env": [*variables, {"name": "TERTIUM_POD_NAME", "valueFrom": {}}]}]
    world.cluster.put(
        {
            "kind": "Deployment",
            "metadata": {"name": "tertium-operator", "namespace": "system", "labels": labels},
            "spec": {"template": {"spec": {"containers": containers}}},
        }
    )

    @asynccontextmanager
    async def connect() -> AsyncIterator[FakeCluster]:
        yield world.cluster

    monkeypatch.setattr(KubeCluster, "connect", connect)
    return world


def test_the_live_cluster_is_read_and_never_written(
    live: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = list(live.cluster.calls)
    file = tmp_path / "snapshot.yaml"
    assert main(["explain", "qwen", "-n", "team-a", "--save", str(file)]) == 0
    out = capsys.readouterr().out
    assert live.cluster.calls == before
    assert "load       not known: the gateway's pods could not be asked" in out
    assert "rule       rest_after_failed_start: Free the GPUs" in out
    assert "ValueError: odd" in out

    assert main(["explain", "--observed", str(file)]) == 0
    assert capsys.readouterr().out == out


def test_a_snapshot_holds_what_only_events_tell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = asyncio.run(settled({"scaling": {"minReplicas": 1}}))
    words = world.delay_volume('secret "hf" not found')
    world.clock.advance(20)
    assert main(["explain", "--observed", str(save(world, tmp_path / "snapshot.yaml"))]) == 0
    out = capsys.readouterr().out
    assert "rule       rest_after_failed_start: " in out
    assert words in out


def test_nothing_that_is_not_there_is_explained(live: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "nobody", "-n", "team-a"]) == 2
    assert capsys.readouterr().err == "tertium explain: there is no LLMDeployment team-a/nobody\n"


def test_a_cluster_without_tertium_is_said(live: World, capsys: pytest.CaptureFixture[str]) -> None:
    live.cluster.remove(DEPLOYMENT, ObjectKey("system", "tertium-operator"))
    assert main(["explain", "qwen", "-n", "team-a"]) == 2
    assert "is Tertium installed there?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "content", "message"),
    [
        pytest.param([], "", "nothing to explain: give a NAME, -f FILE or --observed FILE", id="nothing"),
        pytest.param(["-f", "FILE"], "kind: Pod", "has 0 objects of kind LLMDeployment", id="another kind"),
        pytest.param(["-f", "FILE"], "{", "expected", id="no YAML"),
        pytest.param(
            ["--observed", "FILE"], "a: b", "takenAt: Field required; is it a snapshot?", id="no snapshot"
        ),
        pytest.param(["--observed", "/none"], "", "/none: [Errno 2] No such file", id="no file"),
        pytest.param(
            ["--observed", "FILE"],
            yaml.safe_dump(
                {
                    "takenAt": NOW.isoformat(),
                    "policy": {"engine_image": "e", "operator_image": "o", "gateway_url": "u"},
                    "objects": [a_pod_manifest()],
                }
            ),
            "the snapshot has no LLMDeployment in `objects`",
            id="a snapshot of nothing",
        ),
    ],
)
def test_bad_input_is_named(
    arguments: list[str], content: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file.yaml"
    file.write_text(content)
    assert main(["explain", *(str(file) if word == "FILE" else word for word in arguments)]) == 2
    assert message in capsys.readouterr().err
