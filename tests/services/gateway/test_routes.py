"""The plain HTTP routes."""

from __future__ import annotations

import hashlib
import shutil
import subprocess

import pytest

from services import protocol
from services.contract import ErrorCode
from services.gateway.settings import KeyConfig

pytestmark = pytest.mark.anyio
SHOP = KeyConfig(
    key_id="shop", sha256=hashlib.sha256(b"the shop's key").hexdigest(), max_sessions=1
)
ADMIN = KeyConfig(key_id="us", sha256=hashlib.sha256(b"our key").hexdigest(), is_admin=True)


@pytest.fixture
def guarded(gateway, config):
    return gateway(config.model_copy(update={"auth": "keys", "keys": (SHOP, ADMIN)}))


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def test_a_key_buys_a_token_and_a_token_one_session(guarded) -> None:
    async with guarded as running, running.http() as http:
        answer = await http.post(protocol.TOKEN_PATH, headers=bearer("the shop's key"))
        token = answer.raise_for_status().json()["token"]
        async with running.connect() as player:
            await player.open(token=token)
            async with running.connect() as thief:
                await thief.send(protocol.Open(token=token))
                assert (await thief.receive()).code is ErrorCode.REPLAYED_TOKEN
            more = await http.post(protocol.TOKEN_PATH, headers=bearer("the shop's key"))
            headers = bearer(more.json()["token"])
            async with running.connect(additional_headers=headers) as second:
                await second.send(protocol.Open())
                error = await second.receive()
                assert error.code is ErrorCode.QUOTA_EXCEEDED


async def test_nobody_comes_in_without_a_token(guarded) -> None:
    async with guarded as running, running.http() as http, running.connect() as player:
        answer = await http.post(protocol.TOKEN_PATH, headers=bearer("a guess"))
        assert answer.status_code == 401
        assert answer.json()["code"] == "bad_key"
        await player.send(protocol.Open())
        assert (await player.receive()).code is ErrorCode.BAD_TOKEN
        assert await player.close_code() == protocol.CLOSE_UNAUTHORIZED


async def test_worlds_are_told_with_their_pictures_and_their_release(gateway) -> None:
    async with gateway() as running, running.http() as http:
        told = (await http.get(protocol.WORLDS_PATH)).json()
        assert told["is_fake"]
        assert (told["model_version"], told["width"], told["height"]) == ("7", 128, 64)
        assert [world["name"] for world in told["worlds"]] == ["pattern", "night"]
        assert told["worlds"][0]["image"].startswith("data:image/jpeg;base64,/9j/")
        assert told["releases"][0]["release"] == told["release"] == "sha256:fake"


async def test_readiness_tells_capacity_and_fails_without_an_engine(gateway, config) -> None:
    no_queue = config.model_copy(update={"max_queued_sessions": 0})
    async with gateway(no_queue) as running, running.http() as http:
        ready = await http.get("/health/ready")
        assert (ready.status_code, ready.json()["num_free_slots"]) == (200, 64)
        running.engine.die()
        await running.until(lambda: not running.parts.pool.is_any_up)
        lost = await http.get("/health/ready")
        assert (lost.status_code, lost.json()["num_backends_up"]) == (503, 0)
        assert (await http.get("/health/live")).status_code == 200


async def test_readiness_fails_when_neither_slot_nor_queue_has_room(
    gateway, config, engine_config
) -> None:
    one_slot = engine_config.model_copy(update={"num_slots": 1})
    no_queue = config.model_copy(update={"max_queued_sessions": 0})
    async with (
        gateway(no_queue, one_slot) as running,
        running.http() as http,
        running.connect() as player,
        running.connect() as other,
    ):
        await player.open()
        assert (await http.get("/health/ready")).status_code == 503
        await other.send(protocol.Open())
        assert (await other.receive()).code is ErrorCode.QUEUE_FULL


async def test_the_metrics_pass_prometheus_own_check(gateway) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    async with gateway() as running, running.http() as http, running.connect() as player:
        await player.open()
        await player.act(0, 8)
        await player.until_frame(8)
        await player.send("{")
        await player.receive()
        text = (await http.get("/metrics")).text
        checked = subprocess.run(
            [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
        )
        assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
        assert 'worldloom_gateway_sessions{state="active"} 1.0' in text
        assert 'worldloom_gateway_errors_total{code="bad_message"} 1.0' in text
        assert 'worldloom_gateway_backend_up{address="engine:1"} 1.0' in text
        assert "worldloom_gateway_action_to_frame_seconds_count 2.0" in text


async def test_wrong_requests_are_answered_in_words(guarded) -> None:
    async with guarded as running, running.http() as http:
        headers = bearer("our key")
        answers = [
            await http.post(protocol.TOKEN_PATH, headers=headers, json={"releases": 3}),
            await http.post(protocol.TOKEN_PATH, headers=headers, content=b"{"),
            await http.post("/admin/backends", headers=headers, json={"address": ""}),
        ]
        for answer in answers:
            assert answer.status_code == 400, answer.text
            assert answer.json()["code"] == "bad_message"
        huge = await http.post(protocol.TOKEN_PATH, headers=headers, content=b"x" * 100_000)
        assert (huge.status_code, huge.json()["code"]) == (413, "too_large")
        assert (await http.get("/v1/nothing")).status_code == 404
        assert (await http.get(protocol.TOKEN_PATH)).status_code in {404, 405}


async def test_the_api_describes_itself(gateway) -> None:
    async with gateway() as running, running.http() as http:
        paths = (await http.get("/openapi.json")).json()["paths"]
        assert {protocol.TOKEN_PATH, protocol.WORLDS_PATH, "/health/ready"} <= set(paths)
