"""Names that Kubernetes accepts, and that two deployments never share."""

from __future__ import annotations

import re

import pytest

from tertium.api.meta import ObjectKey
from tertium.core import names

LONG = "m" * 253
DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


@pytest.mark.parametrize(
    ("name", "service", "deployment"),
    [
        pytest.param("qwen", "qwen-engine", "qwen-engine-0a1b2c3d", id="a plain name"),
        pytest.param(
            "7b.chat",
            "llm-7b-chat-ed6914a6-engine",
            "llm-7b-chat-ed6914a6-engine-0a1b2c3d",
            id="a Service begins with a letter and holds no dot",
        ),
        pytest.param(
            LONG,
            f"{'m' * 47}-8ed41652-engine",
            f"{'m' * 21}-8ed41652-engine-0a1b2c3d",
            id="a long name is cut; pods add 17 characters to the Deployment's",
        ),
    ],
)
def test_names_of_children(name: str, service: str, deployment: str) -> None:
    key = ObjectKey("team-a", name)
    assert (names.engine(key), names.engine_revision(key, "0a1b2c3d")) == (service, deployment)
    assert all(DNS_LABEL.fullmatch(found) and len(found) <= 63 for found in (service, deployment))
    assert len(deployment) <= 63 - 17


def test_a_changed_name_never_meets_another_deployments() -> None:
    owners = ["7b", "llm-7b", "a.b", "a-b", LONG, LONG[:-1]]
    assert len({names.engine(ObjectKey("team-a", owner)) for owner in owners}) == len(owners)
