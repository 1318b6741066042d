"""How many held requests may go to the replicas, on a clock that jumps."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import cast

import pytest

from tertium.api.meta import ObjectKey
from tertium.core.errors import Retryable
from tertium.gateway.counters import Requests, read_requests
from tertium.gateway.envoy_admin import EnvoyAdmin
from tertium.gateway.pace import Pace

KEY = ObjectKey("team", "m")


class Admin:
    """An Envoy whose replicas work on so many requests; None: it does not answer."""

    def __init__(self, active: int | None) -> None:
        self.active = active
        self.looks = 0

    async def requests(self) -> Mapping[str, Requests]:
        self.looks += 1
        if self.active is None:
            raise Retryable("no answer")
        held = {"upstream_rq_active": 99, "endpoint.127.0.0.1_9109.rq_active": 90}
        replicas = {"endpoint.10.0.0.1_8000.rq_active": self.active, "endpoint.10.0.0.2_8000.rq_active": 0}
        counted = {**held, **replicas}.items()
        return read_requests(
            {f"cluster.team/{name}.{what}": count for name in "mn" for what, count in counted}
        )


def pace_of(active: int | None) -> tuple[Admin, Pace]:
    admin = Admin(active)
    return admin, Pace(cast(EnvoyAdmin, admin))


@pytest.mark.looptime
async def test_as_many_go_as_the_replicas_can_work_on_beside_what_they_have() -> None:
    admin, pace = pace_of(3)
    assert await pace.room(KEY, 8) == 5
    admin.active = 8
    await asyncio.sleep(0.1)
    assert await pace.room(KEY, 8) == 0


@pytest.mark.looptime
@pytest.mark.parametrize("active", [pytest.param(9, id="full replicas"), pytest.param(None, id="no answer")])
async def test_the_first_in_line_goes_after_a_second_whatever_the_replicas_have(active: int | None) -> None:
    _, pace = pace_of(active)
    rooms = []
    for _ in range(25):
        rooms.append(await pace.room(KEY, 8))
        await asyncio.sleep(0.1)
    assert [place for place, room in enumerate(rooms) if room] == [10, 20]
    assert sum(rooms) == 2


@pytest.mark.looptime
async def test_a_line_that_was_gone_begins_to_wait_anew() -> None:
    _, pace = pace_of(9)
    await pace.room(KEY, 8)
    pace.forget(KEY)
    await asyncio.sleep(60)
    assert await pace.room(KEY, 8) == 0


@pytest.mark.looptime
async def test_fifty_models_ask_envoy_once() -> None:
    admin, pace = pace_of(0)
    keys = [KEY, ObjectKey("team", "n")] * 25
    assert await asyncio.gather(*(pace.room(key, 2) for key in keys)) == [2] * 50
    assert admin.looks == 1
