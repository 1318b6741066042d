"""The operator's environment."""

from __future__ import annotations

import pytest

from tertium.api.meta import ObjectKey
from tertium.core.errors import Terminal
from tertium.runtime.leader import Terms
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


def test_every_process_is_a_candidate_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getpid", iter((7, 8)).__next__)
    assert load_settings().pod_name != load_settings().pod_name
    monkeypatch.setenv("TERTIUM_POD_NAME", "operator-1")
    monkeypatch.setenv("TERTIUM_LEASE_SECONDS", "30")
    settings = load_settings()
    assert (settings.pod_name, settings.lease) == (
        "operator-1",
        ObjectKey("tertium-system", "tertium-operator"),
    )
    assert settings.terms == Terms(lease_seconds=30, renew_seconds=10, retry_seconds=2)


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
        pytest.param(
            "RENEW_SECONDS",
            "15",
            "TERTIUM_LEASE_SECONDS must be more than TERTIUM_RENEW_SECONDS, and that more than "
            "TERTIUM_RETRY_SECONDS; got 15, 15, 2",
            id="a lease that another may take while its holder still writes",
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
