"""The sums of tokens that the filter tells, and what is said when it does not."""

from __future__ import annotations

import aiohttp
import pytest
from aiohttp import web

from tertium.core.errors import Retryable
from tertium.gateway.counters import Meter, Tokens
from tertium.gateway.tally import Tally, read_tally
from tests.gateway.stack import free_ports


def test_the_sums_of_the_filter_are_read() -> None:
    text = "2 0 30 0 team/a.endpoint.b|uid-1|team/c|d\n1 4 5 6 team/m|uid-2|\nanything else\n1 2 3 a|b|c\n"
    assert read_tally(text) == {
        Meter("team/a.endpoint.b", "uid-1", "team/c|d"): Tokens(2, 0, 30, 0),
        Meter("team/m", "uid-2", ""): Tokens(1, 4, 5, 6),
    }


async def test_an_envoy_that_does_not_listen_is_asked_again_later() -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(Retryable, match="Envoy did not tell its sums of tokens: ClientConnectorError"):
            await Tally(session, free_ports(1)[0]).read()


async def test_an_envoy_that_refuses_is_asked_again_later() -> None:
    port = free_ports(1)[0]
    runner = web.AppRunner(web.Application())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        async with aiohttp.ClientSession() as session:
            with pytest.raises(Retryable, match="Envoy answered 404 when asked for its sums of tokens"):
                await Tally(session, port).read()
    finally:
        await runner.cleanup()
