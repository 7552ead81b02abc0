"""Backends behind a name."""

from __future__ import annotations

import asyncio
import socket

import pytest

from services.gateway.backends import BackendConfig
from services.gateway.discovery import follow, resolve, split_name
from worldloom.errors import ConfigError

pytestmark = pytest.mark.anyio


async def test_backends_come_and_go_with_the_addresses_of_a_name(gateway, config) -> None:
    async with gateway(config.model_copy(update={"backends": ()})) as running:
        pool, found = running.parts.pool, {"10.0.0.1:8001"}

        async def look_up(host: str, port: int) -> set[str]:
            assert (host, port) == ("engines", 8001)
            return found

        named = BackendConfig(address="dns://engines:8001", model_version="7", share=0.5)
        following = asyncio.create_task(
            follow(named, pool, running.parts.retirement, 0.01, look_up)
        )
        await running.until(lambda: len(pool) == 1)
        [backend] = pool
        assert backend.config == named.model_copy(update={"address": "10.0.0.1:8001"})
        found = {"10.0.0.2:8001"}
        await running.until(lambda: [each.address for each in pool] == ["10.0.0.2:8001"])
        following.cancel()


async def test_backends_stay_while_nobody_answers_for_their_name(gateway, config) -> None:
    async with gateway(config.model_copy(update={"backends": ()})) as running:
        answers: list[set[str] | None] = [{"10.0.0.1:8001"}, None, None, {"10.0.0.2:8001"}]
        seen = []

        async def look_up(_host: str, _port: int) -> set[str] | None:
            seen.append([(each.address, each.is_draining) for each in running.parts.pool])
            return answers.pop(0) if len(answers) > 1 else answers[0]

        named = BackendConfig(address="dns://engines:8001")
        following = asyncio.create_task(
            follow(named, running.parts.pool, running.parts.retirement, 0.01, look_up)
        )
        await running.until(lambda: len(seen) >= 4)
        assert seen[1:4] == [[("10.0.0.1:8001", False)]] * 3
        following.cancel()


async def test_the_machines_resolver_is_asked() -> None:
    assert "127.0.0.1:8001" in (await resolve("localhost", 8001) or ())


@pytest.mark.parametrize(("error", "answer"), [(socket.EAI_NONAME, ()), (socket.EAI_AGAIN, None)])
async def test_a_resolver_that_is_away_is_told_from_a_name_that_is_gone(
    monkeypatch, error, answer
) -> None:
    def look_up(*_args: object) -> None:
        raise socket.gaierror(error, "no answer")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    assert await resolve("engines", 8001) == answer


@pytest.mark.parametrize("address", ["dns://engines", "dns://:8001", "dns://engines:http"])
def test_a_name_needs_a_port(address) -> None:
    with pytest.raises(ConfigError, match="dns://host:port"):
        split_name(address)
