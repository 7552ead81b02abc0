"""KServe v2 over plain HTTP."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.anyio


async def test_a_plain_client_finds_server_and_model(gateway) -> None:
    async with gateway() as running, running.http() as http:
        assert (await http.get("/v2")).json()["name"] == "worldloom-gateway"
        for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/world/ready"):
            assert (await http.get(path)).status_code == 200, path
        model = (await http.get("/v2/models/world")).json()
        assert {tensor["name"] for tensor in model["inputs"]} >= {"message", "keyboard", "mouse"}
        assert {"name": "frames", "datatype": "BYTES", "shape": [-1]} in model["outputs"]


async def test_another_model_is_not_here(gateway) -> None:
    async with gateway() as running, running.http() as http:
        for path in ("/v2/models/other", "/v2/models/other/ready"):
            answer = await http.get(path)
            assert answer.status_code == 404
            assert "world" in answer.json()["error"]


async def test_nothing_is_ready_without_an_engine(gateway) -> None:
    async with gateway() as running, running.http() as http:
        running.engine.die()
        await running.until(lambda: not running.parts.pool.is_any_up)
        for path in ("/v2/health/ready", "/v2/models/world/ready"):
            assert (await http.get(path)).status_code == 503, path
