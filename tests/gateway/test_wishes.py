"""How long callers are held, by what they and the deployment say."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tertium.core.routing import Model, parse_model
from tertium.gateway.answers import Answer
from tertium.gateway.wishes import hold_seconds, wish_of
from tests.gateway.parts import a_deployment


def a_model(**cold_start: object) -> Model:
    model = parse_model(a_deployment("m", coldStart=cold_start))
    assert isinstance(model, Model)
    return model


@pytest.mark.parametrize(
    ("cold_start", "wish", "expected"),
    [
        pytest.param({}, None, 300, id="who says nothing, as the deployment says"),
        pytest.param({"mode": "Reject"}, None, 0, id="or not at all"),
        pytest.param({}, 0, 0, id="not at all"),
        pytest.param({}, 900, 900, id="longer"),
        pytest.param({}, 9999, 3600, id="an hour at the most"),
        pytest.param({"maxHoldSeconds": 400}, 900, 400, id="or what the deployment allows"),
        pytest.param({"maxHoldSeconds": 0}, 900, 300, id="what is held unasked may be asked for"),
        pytest.param({"mode": "Reject"}, 900, 900, id="of a deployment that rejects"),
        pytest.param({"mode": "Reject", "maxHoldSeconds": 0}, 900, 0, id="unless it rejects everybody"),
    ],
)
def test_how_long_a_request_is_held(cold_start: dict[str, object], wish: int | None, expected: int) -> None:
    assert hold_seconds(a_model(**cold_start), wish) == expected


@settings(deadline=None)
@given(st.text(max_size=60))
def test_a_header_is_a_number_of_seconds_or_refused_in_words(text: str) -> None:
    wish = wish_of({"x-asked-hold-seconds": text})
    if isinstance(wish, Answer):
        assert wish.status == 400
        assert text[:40] in wish.body["error"]["message"]
    else:
        assert wish is not None
        assert int(text) == wish < 10**9
