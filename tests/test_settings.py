"""The operator's environment."""

from __future__ import annotations

import pytest

from tertium.api.meta import ObjectKey
from tertium.core.errors import Terminal
from tertium.settings import load_settings


@pytest.fixture(autouse=True)
def images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERTIUM_ENGINE_IMAGE", "engine:1")
    monkeypatch.setenv("TERTIUM_OPERATOR_IMAGE", "tertium:1")


def test_the_environment_becomes_the_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERTIUM_GATEWAY_URL", "http://gateway/v1")
    monkeypatch.setenv("TERTIUM_GATEWAY_NAMESPACE", "system")
    settings = load_settings()
    assert (settings.policy.engine_image, settings.policy.gateway_url) == ("engine:1", "http://gateway/v1")
    assert settings.gateway == ObjectKey("system", "tertium-gateway")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        pytest.param(
            "ENGINE_IMAGE", None, "environment variable TERTIUM_ENGINE_IMAGE: Field required", id="missing"
        ),
        pytest.param(
            "LOG_LEVEL",
            "LOUD",
            "environment variable TERTIUM_LOG_LEVEL: Input should be 'DEBUG', 'INFO', 'WARNING' or 'ERROR'",
            id="not a choice",
        ),
    ],
)
def test_a_wrong_variable_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str | None, message: str
) -> None:
    if value is None:
        monkeypatch.delenv(f"TERTIUM_{name}")
    else:
        monkeypatch.setenv(f"TERTIUM_{name}", value)
    with pytest.raises(Terminal) as refused:
        load_settings()
    assert str(refused.value) == message
