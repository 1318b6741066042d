"""Every flag that a plan or the renderer gives the engine is an option that the pinned engine has."""

from __future__ import annotations

import pytest

from e2e.oracle.flags import FLAGS, OPTIONS
from tertium.render.vllm import arguments
from tests.factories import a_blueprint


@pytest.mark.parametrize("meaning", FLAGS)
def test_a_plan_s_flags_are_options_of_the_engine(meaning: str) -> None:
    flags = FLAGS[meaning]
    assert flags
    assert {flag.partition("=")[0] for flag in flags} <= set(OPTIONS)


def test_the_renderer_s_own_arguments_are_options_of_the_engine() -> None:
    rendered = arguments(a_blueprint())
    named = {argument.partition("=")[0] for argument in rendered if argument.startswith("--")}
    assert "--shutdown-timeout" in named
    assert named <= set(OPTIONS)
