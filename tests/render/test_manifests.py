"""Which objects there are, in which order, and which go; how they look is in `tests/golden`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tertium.core.decide import decide
from tertium.core.demand import claims_of
from tertium.core.inspection import Inspection, Step
from tertium.core.observed import Observed, Owner
from tertium.core.revision import source_digest
from tertium.render import Desired, Rescaled, build_all
from tertium.render.deployment import build_deployment
from tertium.render.inspection import build_facts, build_inspection
from tertium.render.lease import build_lease
from tests.factories import (
    FACTS_TEXT,
    NOW,
    POLICY,
    a_blueprint,
    a_pod,
    an_engine_set,
    an_owner,
    observed,
    quiet,
    seconds,
)

PLAIN = a_blueprint()
ENGINE = f"qwen-engine-{PLAIN.revision}"
HUB = {
    "model": {
        "source": "hf://Qwen/Qwen3-8B",
        "revision": "main",
        "credentialsSecretRef": {"name": "hub"},
        "servedName": "q",
    }
}


def desired(owner: Owner, seen: Observed) -> Desired:
    return build_all(owner, decide(owner, seen, POLICY, NOW), seen, POLICY)


def names_of(wanted: Desired) -> list[str]:
    return [f"{item['kind']}/{item['metadata']['name']}" for item in wanted.apply]


def test_the_head_of_a_child() -> None:
    metadata = dict(build_lease(an_owner())["metadata"])
    assert len(metadata.pop("annotations")["tertium.dev/applied"]) == 32
    assert metadata == {
        "name": "qwen-demand",
        "namespace": "team-a",
        "labels": {
            "app.kubernetes.io/name": "tertium",
            "app.kubernetes.io/instance": "qwen",
            "app.kubernetes.io/managed-by": "tertium",
            "app.kubernetes.io/component": "demand",
            "tertium.dev/deployment": "qwen",
        },
        "ownerReferences": [
            {
                "apiVersion": "tertium.dev/v1alpha1",
                "kind": "LLMDeployment",
                "name": "qwen",
                "uid": "uid-1",
                "controller": True,
                "blockOwnerDeletion": False,
            }
        ],
    }


def test_the_lease_is_made_without_a_claim() -> None:
    assert claims_of(build_lease(an_owner())) == {}


def test_a_model_of_a_hub_is_pinned_to_the_commit_that_was_inspected() -> None:
    blueprint = replace(PLAIN, spec=an_owner(HUB).spec, model_revision="6f6073b")
    pod = build_deployment(an_owner(HUB).identity, blueprint, replicas=1)["spec"]["template"]["spec"]
    (engine,) = pod["containers"]
    assert engine["args"][0] == "Qwen/Qwen3-8B"
    assert "--revision=6f6073b" in engine["args"]
    assert engine["volumeMounts"][0] == {"name": "model", "mountPath": "/cache"}
    assert pod["volumes"][0] == {"name": "model", "emptyDir": {}}


def test_an_empty_variable_is_spelled_as_the_api_server_keeps_it() -> None:
    owner = an_owner({"engine": {"env": [{"name": "A", "value": ""}]}})
    manifest = build_deployment(owner.identity, replace(PLAIN, spec=owner.spec), replicas=1)
    assert manifest["spec"]["template"]["spec"]["containers"][0]["env"] == [{"name": "A"}]


def test_the_inspection_of_a_hub_gets_the_token_and_the_revision() -> None:
    (inspect,) = build_inspection(an_owner(HUB), POLICY)["spec"]["template"]["spec"]["containers"]
    assert inspect["args"] == ["inspect", "hf://Qwen/Qwen3-8B", "--revision", "main"]
    assert [variable["name"] for variable in inspect["env"]] == ["HF_ENDPOINT", "HF_HOME", "HF_TOKEN"]


def test_the_facts_say_which_source_they_are_about() -> None:
    owner = an_owner()
    facts = build_facts(owner, FACTS_TEXT)
    assert facts["data"] == {"facts.json": FACTS_TEXT}
    assert facts["metadata"]["annotations"]["tertium.dev/source-digest"] == source_digest(owner.spec.model)


def test_a_model_not_yet_inspected_gets_everything_but_an_engine() -> None:
    wanted = desired(an_owner(), observed(facts=None, facts_stored=False))
    job = build_inspection(an_owner(), POLICY)["metadata"]["name"]
    assert names_of(wanted) == ["Lease/qwen-demand", "Service/qwen-engine", f"Job/{job}"]
    assert ("ConfigMap", "qwen-model") in wanted.reserved


def test_found_facts_are_stored_before_their_job_is_dropped_and_an_older_one_goes_too() -> None:
    owner = an_owner()
    job = build_inspection(owner, POLICY)
    old = {**job, "metadata": {**job["metadata"], "name": "qwen-inspect-00000000"}}
    children = {("Job", item["metadata"]["name"]): item for item in (job, old)}
    done = Inspection(state="done", facts=FACTS_TEXT)
    seen = observed(facts_stored=False, inspection=done, children=children)
    assert decide(owner, seen, POLICY, NOW).inspect is Step.STORE
    wanted = desired(owner, seen)
    assert names_of(wanted)[2:] == ["ConfigMap/qwen-model", f"Deployment/{ENGINE}"]
    assert wanted.drop == (job, old)


def test_a_running_job_is_neither_applied_again_nor_dropped() -> None:
    job = build_inspection(an_owner(), POLICY)
    running = Inspection(state="running")
    children = {("Job", job["metadata"]["name"]): job}
    wanted = desired(
        an_owner(), observed(facts=None, facts_stored=False, inspection=running, children=children)
    )
    assert (names_of(wanted)[2:], wanted.drop) == ([], ())


def live(replicas: int, **spec: Any) -> tuple[dict[tuple[str, str], Any], Any]:
    """The plain revision's Deployment as it is, among the children."""
    manifest = build_deployment(an_owner(spec).identity, PLAIN, replicas=replicas)
    return {("Deployment", ENGINE): manifest}, manifest


def test_without_a_plan_a_pin_still_stops_what_runs() -> None:
    children, manifest = live(2)
    wanted = desired(an_owner({"replicas": 0}), observed(replicas=2, pools=(), children=children))
    assert wanted.rescale == (Rescaled(live=manifest, replicas=0),)
    assert "Deployment" not in {item["kind"] for item in wanted.apply}


def test_a_former_revision_is_rescaled_then_dropped_and_never_applied() -> None:
    owner = an_owner({"engine": {"args": ["--seed=1"]}})
    children, manifest = live(1)
    serving = a_pod(ready=NOW - seconds(9))
    new = a_blueprint({"engine": {"args": ["--seed=1"]}})
    answering = a_pod("new", ready=NOW, revision=new.revision)
    engines = (an_engine_set(of=new, replicas=1), an_engine_set(replicas=1))
    seen = replace(
        observed(pods=(serving, answering), children=children, load=quiet(0, in_flight=1)), engines=engines
    )
    wanted = desired(owner, seen)
    assert names_of(wanted)[-1] == f"Deployment/qwen-engine-{new.revision}"
    assert wanted.rescale == (Rescaled(live=manifest, replicas=0),)

    gone = replace(seen, pods=(answering,), engines=(engines[0], an_engine_set(replicas=0)))
    wanted = desired(owner, gone)
    assert (wanted.rescale, wanted.drop) == ((), (manifest,))
