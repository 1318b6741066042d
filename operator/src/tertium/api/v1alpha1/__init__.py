"""v1alpha1: `LLMDeployment`, the spec a user writes and the status Tertium answers with, and `APIKey`.

The field descriptions are the API's documentation: the CRD and the reference page are generated from them.
"""

from __future__ import annotations

from pydantic import Field

from tertium.api.meta import ApiModel
from tertium.api.v1alpha1.apikey import Allowed, APIKey, APIKeySpec
from tertium.api.v1alpha1.engine import Engine, EnvVar
from tertium.api.v1alpha1.spec import (
    Accelerator,
    Capacity,
    ColdStart,
    LLMDeploymentSpec,
    Model,
    Parallelism,
    Precision,
    Rollout,
    Routing,
    Scaling,
    SecretReference,
    Targets,
)
from tertium.api.v1alpha1.status import (
    ColdStartStatus,
    CountedGateway,
    LLMDeploymentStatus,
    MemoryPlan,
    OpenReplica,
    Placement,
    PlanStatus,
    RecentStart,
    RolloutStatus,
    ScalingStatus,
    StartFailures,
    StartPhase,
    StartRecord,
    Usage,
)
from tertium.api.v1alpha1.template import Template, Toleration

GROUP = "tertium.dev"
VERSION = "v1alpha1"
KIND = "LLMDeployment"
PLURAL = "llmdeployments"
API_KEY_KIND = "APIKey"
API_KEY_PLURAL = "apikeys"

__all__ = [
    "API_KEY_KIND",
    "API_KEY_PLURAL",
    "GROUP",
    "KIND",
    "PLURAL",
    "VERSION",
    "APIKey",
    "APIKeySpec",
    "Accelerator",
    "Allowed",
    "Capacity",
    "ColdStart",
    "ColdStartStatus",
    "CountedGateway",
    "Engine",
    "EnvVar",
    "LLMDeployment",
    "LLMDeploymentSpec",
    "LLMDeploymentStatus",
    "MemoryPlan",
    "Model",
    "OpenReplica",
    "Parallelism",
    "Placement",
    "PlanStatus",
    "Precision",
    "RecentStart",
    "Rollout",
    "RolloutStatus",
    "Routing",
    "Scaling",
    "ScalingStatus",
    "SecretReference",
    "StartFailures",
    "StartPhase",
    "StartRecord",
    "Targets",
    "Template",
    "Toleration",
    "Usage",
]


class LLMDeployment(ApiModel):
    """An on-demand LLM deployment. `metadata` is opaque here: the API server owns its shape."""

    spec: LLMDeploymentSpec = Field(description="What the user wants.")
    status: LLMDeploymentStatus = Field(default=LLMDeploymentStatus(), description="What Tertium observed.")
