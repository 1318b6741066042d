"""One LLMDeployment as the API server shows it, and what must be true of it once nothing moves any more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from e2e.fleet.api import APPS, BATCH, CORE, LEASES, LLMDS, Api, path_of
from e2e.fleet.crowd import conditions
from e2e.fleet.gateway import renew
from e2e.fleet.plane import deployment
from e2e.waiting import until
from tertium.core.demand import CLAIM_SECONDS

CHILDREN: Final = ((APPS, "deployments"), (CORE, "services"), (LEASES, "leases"), (CORE, "configmaps"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A deployment by namespace and name."""

    api: Api
    namespace: str
    name: str

    @classmethod
    def make(cls, api: Api, namespace: str, name: str, **spec: Any) -> Model:
        """Apply it as a user does, and wait until it is Ready."""
        model = cls.apply(api, namespace, name, **spec)
        model.wait("Ready", "True", seconds=30)
        return model

    @classmethod
    def apply(cls, api: Api, namespace: str, name: str, **spec: Any) -> Model:
        """Apply it as a user does."""
        api.apply(path_of(LLMDS, namespace, "llmdeployments", name), deployment(name, namespace, **spec))
        return cls(api=api, namespace=namespace, name=name)

    @property
    def key(self) -> str:
        """Its full name."""
        return f"{self.namespace}/{self.name}"

    @property
    def path(self) -> str:
        """Where the API server has it."""
        return path_of(LLMDS, self.namespace, "llmdeployments", self.name)

    def get(self) -> dict[str, Any]:
        """Return the object."""
        return self.api.get(self.path)

    def condition(self, kind: str) -> dict[str, Any]:
        """Return a condition of the present generation; raises AssertionError while there is none."""
        manifest = self.get()
        found = conditions(manifest).get(kind)
        assert found is not None, f"{self.key} has no condition {kind}"
        generation = manifest["metadata"]["generation"]
        assert found["observedGeneration"] == generation, f"{kind} is not of generation {generation}: {found}"
        return found

    def wait(self, kind: str, status: str, *, reason: str = "", seconds: float) -> dict[str, Any]:
        """Wait for a condition's status, and for a reason where one is given; return the condition."""

        def probe() -> dict[str, Any]:
            seen = self.condition(kind)
            assert seen["status"] == status, seen
            assert reason in ("", seen["reason"]), seen
            return seen

        return until(f"{self.key}: {kind}={status} {reason}", probe, seconds=seconds, every=0.05)

    def demand(self, *, lasting: float = CLAIM_SECONDS) -> None:
        """State that somebody waits, for so many seconds from now."""
        renew(self.api, self.namespace, self.name, lasting=lasting)

    def wake(self, *, lasting: float = CLAIM_SECONDS) -> None:
        """State demand until a replica answers."""

        def probe() -> bool:
            self.demand(lasting=lasting)
            assert self.condition("Active")["reason"] == "Serving", self.condition("Active")
            return True

        until(f"{self.key} serves", probe, seconds=30, every=0.2)

    def engines(self) -> list[dict[str, Any]]:
        """Return its engine Deployments."""
        labels = f"tertium.dev/deployment={self.name},app.kubernetes.io/component=engine"
        return self.api.items(path_of(APPS, self.namespace, "deployments"), labels=labels)

    def replicas(self) -> int:
        """Return how many replicas are asked for."""
        return sum(engine["spec"]["replicas"] for engine in self.engines())

    def pods(self) -> list[dict[str, Any]]:
        """Return its engine pods, those that end included."""
        labels = f"tertium.dev/deployment={self.name},app.kubernetes.io/component=engine"
        return self.api.items(path_of(CORE, self.namespace, "pods"), labels=labels)

    def children(self) -> list[dict[str, Any]]:
        """Return everything it controls, but for what controllers made of that."""
        uid = self.get()["metadata"]["uid"]
        kinds = (*CHILDREN, (BATCH, "jobs"))
        paths = [path_of(root, self.namespace, plural) for root, plural in kinds]
        return [item for path in paths for item in self.api.items(path) if _controller(item) == uid]

    def wait_replicas(self, count: int, *, seconds: float) -> None:
        """Wait until so many replicas are asked for."""

        def probe() -> bool:
            assert self.replicas() == count, f"{self.replicas()} replicas"
            return True

        until(f"{self.key}: {count} replicas", probe, seconds=seconds, every=0.05)

    def check(self, replicas: int) -> None:
        """Assert that it is whole: what it has is there once, and the status says what is so."""
        engines, pods, manifest = self.engines(), self.pods(), self.get()
        running = [engine for engine in engines if engine["spec"]["replicas"]]
        assert [engine["spec"]["replicas"] for engine in running] == ([replicas] if replicas else [])
        assert len(pods) == replicas, [pod["metadata"]["name"] for pod in pods]
        status = manifest.get("status", {})
        assert status.get("readyReplicas", 0) == replicas, status
        parts = {_component(child) for child in self.children()}
        assert parts >= {"demand", "engine", "model"}, parts
        assert "inspection" not in parts, parts
        said = {kind: found["status"] for kind, found in conditions(manifest).items()}
        active = "True" if replicas else "False"
        assert (said.get("Ready"), said.get("Active")) == ("True", active), conditions(manifest)
        assert manifest["metadata"]["generation"] == 1, "somebody wrote the spec"
        assert "finalizers" not in manifest["metadata"]


def wait_right(models: Sequence[Model], replicas: int, *, seconds: float) -> None:
    """Wait until every model is whole with so many replicas, and see that it stays so for a second."""

    def probe() -> bool:
        for model in models:
            model.check(replicas)
        return True

    until(f"{len(models)} models with {replicas} replicas each", probe, seconds=seconds, every=0.5)
    versions = [model.get()["metadata"]["resourceVersion"] for model in models]

    def still() -> bool:
        later = [model.get()["metadata"]["resourceVersion"] for model in models]
        quiet, versions[:] = later == versions, later
        return quiet

    until("the status rests", still, seconds=10, every=1)
    probe()


def _controller(item: dict[str, Any]) -> str:
    references = item["metadata"].get("ownerReferences", ())
    return next((str(reference["uid"]) for reference in references if reference.get("controller")), "")


def _component(child: dict[str, Any]) -> str:
    return str(child["metadata"]["labels"]["app.kubernetes.io/component"])
