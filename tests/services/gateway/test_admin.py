"""The routes for those who run the gateway."""

from __future__ import annotations

import hashlib

import pytest

from services import protocol
from services.gateway.settings import KeyConfig

pytestmark = pytest.mark.anyio
SHOP = KeyConfig(key_id="shop", sha256=hashlib.sha256(b"the shop's key").hexdigest())
ADMIN = KeyConfig(key_id="us", sha256=hashlib.sha256(b"our key").hexdigest(), is_admin=True)


async def test_only_an_admins_key_opens_them(gateway, config) -> None:
    guarded = config.model_copy(update={"auth": "keys", "keys": (SHOP, ADMIN)})
    async with gateway(guarded) as running, running.http() as http:
        for key, status in [("the shop's key", 401), ("nobody's", 401), ("our key", 200)]:
            headers = {"Authorization": f"Bearer {key}"}
            assert (await http.get("/admin/backends", headers=headers)).status_code == status
        assert (await http.get("/admin/backends")).status_code == 401


async def test_a_new_version_takes_over_under_live_sessions(gateway) -> None:
    async with gateway() as running, running.http() as http, running.connect() as old:
        first = await old.open()
        added = await http.post(
            "/admin/backends", json={"address": "engine:2", "model_version": "8"}
        )
        assert added.status_code == 201
        await running.until(lambda: len([b for b in running.parts.pool if b.is_up]) == 2)
        drained = await http.post("/admin/backends/drain", json={"address": "engine:1"})
        assert (drained.json()["is_draining"], drained.json()["num_sessions"]) == (True, 1)
        assert (await old.receive_a(protocol.Notice)).kind == "draining"
        async with running.connect() as new:
            assert (await new.open()).model_version == "8"
        await old.act(0, 8)
        await old.until_frame(8)
        assert first.model_version == "7"
        assert running.engine.num_sessions == 1


async def test_a_removed_backend_goes_once_its_last_session_has_ended(gateway) -> None:
    async with gateway() as running, running.http() as http, running.connect() as player:
        await player.open()
        removed = await http.delete("/admin/backends", params={"address": "engine:1"})
        assert removed.status_code == 202
        await player.act(0, 4)
        await player.until_frame(4)
        assert len(running.parts.pool) == 1
        await player.send(protocol.Close())
        await player.receive_a(protocol.Ended)
        await running.until(lambda: len(running.parts.pool) == 0)


async def test_a_share_can_be_changed(gateway) -> None:
    async with gateway() as running, running.http() as http:
        changed = {"address": "engine:1", "model_version": "7", "share": 0.25}
        assert (await http.post("/admin/backends", json=changed)).json()["share"] == 0.25
        [told] = (await http.get("/admin/backends")).json()
        assert (told["share"], told["release"], told["num_slots"]) == (0.25, "sha256:fake", 64)


async def test_what_is_not_there_is_named(gateway) -> None:
    async with gateway() as running, running.http() as http:
        answer = await http.delete("/admin/backends", params={"address": "engine:9"})
        assert answer.status_code == 503
        assert "engine:1" in answer.json()["message"]
        named = await http.post("/admin/backends", json={"address": "dns://engines:8001"})
        assert named.status_code == 400
