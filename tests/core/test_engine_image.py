"""The engine's version, read from its image."""

from __future__ import annotations

import pytest

from tertium.core.engine_image import engine_version
from tertium.core.planner.releases import DEFAULT_ENGINE_VERSION


@pytest.mark.parametrize(
    ("image", "version"),
    [
        pytest.param("vllm/vllm-openai:v0.19.1", "0.19.1", id="the official image"),
        pytest.param("registry:5000/team/vllm:0.21.0-cu129", "0.21.0", id="a registry with a port, a suffix"),
        pytest.param("vllm/vllm-openai:v0.19.1@sha256:abc", "0.19.1", id="a tag beside a digest"),
        pytest.param("vllm/vllm-openai:nightly", DEFAULT_ENGINE_VERSION, id="a tag without a version"),
        pytest.param("vllm/vllm-openai@sha256:0.1", DEFAULT_ENGINE_VERSION, id="a digest alone"),
        pytest.param("localhost:5000/engine", DEFAULT_ENGINE_VERSION, id="no tag"),
    ],
)
def test_the_version_is_that_of_the_tag_else_the_newest_known(image: str, version: str) -> None:
    assert engine_version(image) == version
