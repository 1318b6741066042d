"""The kinds of Tertium's API, each with what its CustomResourceDefinition says beside the schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tertium.api.meta import ApiModel
from tertium.api.rules import RULES, Rule
from tertium.api.v1alpha1 import (
    API_KEY_KIND,
    API_KEY_PLURAL,
    GROUP,
    KIND,
    PLURAL,
    APIKey,
    LLMDeployment,
)

Column = Mapping[str, str | int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """One kind: its names, its model and what kubectl shows of it."""

    kind: str
    plural: str
    short_name: str
    model: type[ApiModel]
    description: str
    columns: tuple[Column, ...]
    rules: Mapping[str, tuple[Rule, ...]]
    """CEL by path in the object."""
    subresources: Mapping[str, Any]
    defaults: Mapping[str, Any]
    """What the API server fills in, by top-level field."""

    @property
    def file_name(self) -> str:
        """Name of the file that holds the definition."""
        return f"{GROUP}_{self.plural}.yaml"


_AGE: Final = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}

LLM_DEPLOYMENT: Final = Definition(
    kind=KIND,
    plural=PLURAL,
    short_name="llmd",
    model=LLMDeployment,
    description="An on-demand LLM deployment.",
    columns=(
        {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
        {"name": "Active", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Active")].reason'},
        {"name": "Replicas", "type": "integer", "jsonPath": ".status.readyReplicas"},
        {"name": "Desired", "type": "integer", "jsonPath": ".status.scaling.desired"},
        {"name": "Model", "type": "string", "jsonPath": ".spec.model.source"},
        {"name": "Accelerator", "type": "string", "jsonPath": ".status.plan.accelerator", "priority": 1},
        {"name": "GPUs", "type": "integer", "jsonPath": ".status.plan.gpusPerReplica", "priority": 1},
        {"name": "Revision", "type": "string", "jsonPath": ".status.rollout.revision", "priority": 1},
        {
            "name": "Message",
            "type": "string",
            "jsonPath": '.status.conditions[?(@.type=="Ready")].message',
            "priority": 1,
        },
        _AGE,
    ),
    rules=RULES,
    subresources={
        "status": {},
        "scale": {
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        },
    },
    # kstatus takes an object without a status for a settled one.
    defaults={"status": {"observedGeneration": -1}},
)

API_KEY: Final = Definition(
    kind=API_KEY_KIND,
    plural=API_KEY_PLURAL,
    short_name="llmkey",
    model=APIKey,
    description="A key to the gateway: which deployments its holder may ask, and how often.",
    columns=(
        {"name": "Requests/min", "type": "integer", "jsonPath": ".spec.requestsPerMinute"},
        {"name": "Concurrent", "type": "integer", "jsonPath": ".spec.maxConcurrentRequests"},
        {"name": "Expires", "type": "string", "jsonPath": ".spec.expiresAt"},
        _AGE,
    ),
    rules={},
    subresources={},
    defaults={},
)

DEFINITIONS: Final = (LLM_DEPLOYMENT, API_KEY)
