"""What an APIKey grants."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tertium.api.meta import ObjectKey
from tertium.core.api_keys import ApiKey, by_digest, parse_api_key, share

HOME = "tertium-system"
DIGEST = "ab" * 32


def a_manifest(
    *, name: str = "ci", namespace: str = "team-a", created: str = "2026-01-01T00:00:00Z", **spec: Any
) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace, "creationTimestamp": created}
    return {"metadata": metadata, "spec": {"keySHA256": DIGEST, **spec}}


def a_key(**more: Any) -> ApiKey:
    key = parse_api_key(a_manifest(**more), home=HOME)
    assert isinstance(key, ApiKey)
    return key


@pytest.mark.parametrize(
    ("namespace", "allow", "deployment", "permitted"),
    [
        pytest.param("team-a", None, "team-a/x", True, id="without a list: its own namespace"),
        pytest.param("team-a", None, "team-b/x", False, id="without a list: no other namespace"),
        pytest.param("team-a", [{"name": "x"}], "team-a/x", True, id="a name"),
        pytest.param("team-a", [{"name": "x"}], "team-a/xy", False, id="a name is no prefix"),
        pytest.param("team-a", [{"name": "x*"}], "team-a/xy", True, id="a prefix"),
        pytest.param("team-a", [{"name": "x*"}], "team-a/yx", False, id="another prefix"),
        pytest.param("team-a", [{"name": "x"}, {"name": "y"}], "team-a/y", True, id="the second of two"),
        pytest.param("team-a", [{"namespace": "team-b"}], "team-b/x", False, id="it names another namespace"),
        pytest.param("team-a", [{"namespace": "*"}], "team-b/x", False, id="it names every namespace"),
        pytest.param(
            "team-a", [{"namespace": "team-*"}], "team-a/x", False, id="it names its own by a prefix"
        ),
        pytest.param(HOME, [{"namespace": "team-*"}], "team-b/x", True, id="Tertium's own may name others"),
        pytest.param(HOME, None, "team-b/x", False, id="Tertium's own names none by itself"),
    ],
)
def test_what_a_key_permits(
    namespace: str, allow: list[dict[str, str]] | None, deployment: str, permitted: bool
) -> None:
    key = a_key(namespace=namespace, **({} if allow is None else {"allow": allow}))
    assert key.permits(ObjectKey(*deployment.split("/"))) is permitted


def test_entries_that_do_not_count_are_known() -> None:
    assert a_key(allow=[{"namespace": "team-b"}, {"name": "x"}]).foreign == ("team-b/*",)


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        pytest.param(
            {"keySHA256": "short"},
            "spec.keySHA256: String should have at least 64 characters",
            id="no hash",
        ),
        pytest.param(
            {"maxConcurrentRequests": 0},
            "spec.maxConcurrentRequests: Input should be greater than or equal to 1",
            id="nothing at once",
        ),
        pytest.param(
            {"expiresAt": "soon"}, "spec.expiresAt: not a time as in 2027-06-30T00:00:00Z", id="no time"
        ),
    ],
)
def test_what_breaks_the_schema_is_named(spec: dict[str, Any], sentence: str) -> None:
    assert parse_api_key(a_manifest(**spec), home=HOME) == sentence


def test_a_key_on_its_way_out_is_none() -> None:
    manifest = a_manifest()
    manifest["metadata"]["deletionTimestamp"] = "2026-01-02T00:00:00Z"
    assert parse_api_key(manifest, home=HOME) is None


def test_fields_of_a_later_version_are_ignored() -> None:
    assert a_key(tokensPerMinute=5) == a_key()


def test_the_time_is_read() -> None:
    assert a_key(expiresAt="2027-06-30T00:00:00Z").expires_at == datetime(2027, 6, 30, tzinfo=UTC)


def test_of_two_with_one_hash_the_older_counts() -> None:
    young = a_key(name="a", created="2026-02-01T00:00:00Z")
    old = a_key(name="b", created="2026-01-01T00:00:00Z")
    assert by_digest([young, old]) == {DIGEST: old}


@pytest.mark.parametrize(
    ("limit", "gateways", "expected"), [(9, 1, 9), (9, 2, 5), (10, 2, 5), (1, 3, 1), (7, 0, 7)]
)
def test_a_limit_is_shared_and_rounded_up(limit: int, gateways: int, expected: int) -> None:
    assert share(limit, gateways) == expected
