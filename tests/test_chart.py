"""The chart beside the code: rights, environment and values. What Helm makes of it is tested in e2e."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from tertium import __version__
from tertium.gateway.metrics import GatewayMetrics
from tertium.gateway.settings import GatewaySettings
from tertium.gateway.waiters import Bounds
from tertium.kube.cluster import API_KEY, DEPLOYMENT, EVENT, JOB, LEASE, LLM_DEPLOYMENT, POD, Kind
from tertium.runtime.execute import APPLIED_KINDS
from tertium.runtime.metrics import Metrics
from tertium.runtime.relist import WATCHED_KINDS
from tertium.settings import OperatorSettings

CHART = Path(__file__).resolve().parents[1] / "charts" / "tertium"
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())

Rights = dict[str, set[str]]


def roles(kind: str = "ClusterRole") -> dict[str, Rights]:
    """Return the verbs by `group/resource` of every role of a kind, read from the template without Helm."""
    text = (CHART / "templates" / "rbac.yaml").read_text()
    plain = re.sub(r"^\s*\{\{[^}]*\}\}\s*$", "", text, flags=re.MULTILINE)
    documents = yaml.safe_load_all(re.sub(r"\{\{[^}]*\}\}", "x", plain))
    found: dict[str, Rights] = {}
    for document in documents:
        if document["kind"] == kind:
            rights: Rights = defaultdict(set)
            for rule in document["rules"]:
                for resource in rule["resources"]:
                    rights[f"{rule['apiGroups'][0]}/{resource}"] |= set(rule["verbs"])
            found[document["metadata"]["name"].removeprefix("x-")] = dict(rights)
    return found


def resource(kind: Kind) -> str:
    group = kind.api_version.rpartition("/")[0]
    return f"{group}/{kind.plural}"


def test_the_operator_has_the_rights_it_uses_and_no_others() -> None:
    used: Rights = defaultdict(set)
    for kind in WATCHED_KINDS:
        used[resource(kind)] |= {"list", "watch"}
    for kind in APPLIED_KINDS.values():
        used[resource(kind)] |= {"get", "create", "patch"}
    for kind in (JOB, DEPLOYMENT, LLM_DEPLOYMENT):
        used[resource(kind)] |= {"delete"}
    used[f"{resource(LLM_DEPLOYMENT)}/status"] |= {"patch"}
    used[f"{resource(DEPLOYMENT)}/scale"] |= {"patch"}
    used[resource(POD)] |= {"patch"}
    used[resource(EVENT)] |= {"create", "patch", "list"}
    used[f"{resource(POD)}/log"] |= {"get"}
    assert roles()["operator"] == used


def test_the_leader_lease_alone_may_be_replaced() -> None:
    assert roles("Role") == {"operator": {resource(LEASE): {"update"}}}
    text = (CHART / "templates" / "rbac.yaml").read_text()
    assert "resourceNames: [{{ $name }}-operator]" in text
    operator = (CHART / "templates" / "operator.yaml").read_text()
    assert re.search(r"TERTIUM_OPERATOR_LEASE\n\s+value: \{\{ \$name \}\}-operator\n", operator)


def test_the_gateway_has_the_rights_it_uses_and_no_others() -> None:
    assert roles()["gateway"] == {
        resource(LLM_DEPLOYMENT): {"list", "watch"},
        resource(API_KEY): {"list", "watch"},
        resource(POD): {"list", "watch"},
        resource(LEASE): {"patch"},
    }


def test_no_right_is_a_wildcard_or_reaches_a_secret() -> None:
    text = (CHART / "templates" / "rbac.yaml").read_text()
    assert not re.search(r"[\[ ]['\"]?\*|secrets", text)


def environment(template: str) -> set[str]:
    return set(re.findall(r"name: (TERTIUM_[A-Z_]+)", (CHART / "templates" / template).read_text()))


def variables(settings: type[OperatorSettings | GatewaySettings]) -> set[str]:
    return {f"TERTIUM_{name.upper()}" for name in settings.model_fields}


@pytest.mark.parametrize(
    ("template", "settings"),
    [
        pytest.param("operator.yaml", OperatorSettings, id="operator"),
        pytest.param("_helpers.tpl", GatewaySettings, id="gateway"),
    ],
)
def test_a_variable_of_the_chart_is_a_setting_of_the_program(
    template: str, settings: type[OperatorSettings | GatewaySettings]
) -> None:
    given = environment(template)
    assert given
    assert given <= variables(settings)


def test_the_operator_gets_every_setting_that_has_no_default() -> None:
    needed = {name for name, field in OperatorSettings.model_fields.items() if field.is_required()}
    assert {f"TERTIUM_{name.upper()}" for name in needed} <= environment("operator.yaml")


def test_the_probes_and_ports_are_the_programs_own() -> None:
    operator = (CHART / "templates" / "operator.yaml").read_text()
    gateway = (CHART / "templates" / "gateway.yaml").read_text()
    ports = {name: field.default for name, field in GatewaySettings.model_fields.items() if "port" in name}
    health_port = OperatorSettings.model_fields["health_port"].default
    assert f"containerPort: {health_port}}}" in operator
    assert f'prometheus.io/port: "{health_port}"' in operator
    assert f"containerPort: {ports['listen_port']}}}" in gateway
    assert f"containerPort: {ports['report_port']}}}" in gateway
    assert f'prometheus.io/port: "{ports["report_port"]}"' in gateway


def leaves(values: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of every value; resources are left to Kubernetes."""
    if isinstance(values, dict) and values and path[-1:] != ("resources",):
        for name, value in values.items():
            yield from leaves(value, (*path, name))
    else:
        yield path


@pytest.mark.parametrize("path", [pytest.param(path, id=".".join(path)) for path in leaves(VALUES)])
def test_a_value_is_in_the_schema_and_used_by_a_template(path: tuple[str, ...]) -> None:
    node = SCHEMA
    for name in path:
        node = node["properties"][name]
        if "$ref" in node:
            node = SCHEMA["$defs"][node["$ref"].rpartition("/")[2]]
    templates = "".join(file.read_text() for file in (CHART / "templates").iterdir())
    # The images are looked up by the name of the part.
    used = f"$image.{path[-1]}" if path[0] == "images" else f".Values.{'.'.join(path)}"
    assert used in templates or f".Values.{'.'.join(path)}" in templates


def test_the_readme_names_every_metric() -> None:
    registry = CollectorRegistry()
    Metrics(registry)
    GatewayMetrics(registry)
    readme = (CHART / "README.md").read_text()
    for family in registry.collect():
        suffix = "_total" if family.type == "counter" else ""
        assert f"`{family.name}{suffix}" in readme


def test_the_chart_s_terms_are_the_program_s() -> None:
    terms = VALUES["operator"]["leaderElection"]
    fields = OperatorSettings.model_fields
    assert terms == {
        "leaseSeconds": fields["lease_seconds"].default,
        "renewSeconds": fields["renew_seconds"].default,
        "retrySeconds": fields["retry_seconds"].default,
    }


def test_the_chart_s_bounds_are_the_program_s() -> None:
    fields = GatewaySettings.model_fields
    assert VALUES["gateway"]["hold"] == {
        "maxPending": fields["max_pending"].default,
        "maxPendingMebibytes": fields["max_pending_mebibytes"].default,
        "maxKeptMebibytes": fields["max_kept_mebibytes"].default,
    }
    assert GatewaySettings().bounds == Bounds()


def test_the_readme_names_every_value() -> None:
    readme = (CHART / "README.md").read_text()
    for path in leaves(VALUES):
        assert path[-1] in readme, ".".join(path)


def test_the_chart_s_version_is_the_program_s() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)
