"""The audit log."""

from __future__ import annotations

import hashlib
import json

import pytest

from services import protocol
from services.gateway.settings import KeyConfig

pytestmark = pytest.mark.anyio
KEY = "the shop's key"
SHOP = KeyConfig(key_id="shop", sha256=hashlib.sha256(KEY.encode()).hexdigest(), is_admin=True)


async def test_it_says_who_did_what_and_never_a_secret_or_a_prompt(
    gateway, config, tmp_path
) -> None:
    path = tmp_path / "audit.jsonl"
    changed = config.model_copy(update={"auth": "keys", "keys": (SHOP,), "audit_path": str(path)})
    headers = {"Authorization": f"Bearer {KEY}"}
    async with gateway(changed) as running, running.http() as http:
        token = (await http.post(protocol.TOKEN_PATH, headers=headers)).json()["token"]
        async with running.connect() as player:
            first = await player.open(token=token, prompt="a garden of secrets")
        async with running.connect() as again:
            await again.resume(first.resume_token, 0)
            await again.send(protocol.Close())
            await again.receive_a(protocol.Ended)
        async with running.connect() as thief:
            await thief.send(protocol.Open(token=token))
            await thief.receive()
        drained = {"address": "engine:1"}
        await http.post("/admin/backends/drain", headers=headers, json=drained)
    text = path.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    told = [(line["event"], line.get("key_id", "")) for line in lines]
    assert told == [
        ("token", "shop"),
        ("open", "shop"),
        ("end", "shop"),
        ("resume", "shop"),
        ("end", "shop"),
        ("refuse", ""),
        ("admin", "shop"),
    ]
    assert [line["outcome"] for line in lines if line["event"] == "end"] == ["dropped", "stopped"]
    assert {line["session_id"] for line in lines[1:5]} == {first.session_id}
    for secret in (KEY, token, first.resume_token, "garden"):
        assert secret not in text
