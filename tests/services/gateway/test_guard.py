"""Who may reach an open gateway, and what a fault becomes."""

from __future__ import annotations

import pytest
from starlette.datastructures import Headers
from websockets.exceptions import InvalidStatus

from services import protocol
from services.gateway.guard import is_own

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("host", "origin", "is_allowed"),
    [
        ("127.0.0.1:8080", None, True),
        ("localhost:8080", "http://localhost:8080", True),
        ("[::1]:8080", None, True),
        ("127.0.0.1:8080", "http://evil.example", False),
        ("127.0.0.1:8080", "http://127.0.0.1:9999", False),
        ("127.0.0.1:8080", "null", False),
        ("evil.example:8080", "http://evil.example:8080", False),  # a name that was bent to here
        ("", None, False),
    ],
)
def test_an_open_gateway_is_for_its_own_pages(host, origin, is_allowed) -> None:
    values = {"host": host} | ({} if origin is None else {"origin": origin})
    assert is_own(Headers(values)) is is_allowed


async def test_a_foreign_page_opens_no_session_and_moves_no_backend(gateway) -> None:
    async with gateway() as running, running.http() as http:
        with pytest.raises(InvalidStatus, match="403"):
            async with running.connect(origin="http://evil.example"):
                pass
        foreign = {"Origin": "http://evil.example"}
        answer = await http.delete(
            "/admin/backends", params={"address": "engine:1"}, headers=foreign
        )
        assert (answer.status_code, answer.json()["code"]) == (403, "bad_key")
        assert (await http.get(protocol.WORLDS_PATH)).status_code == 200


async def test_a_gateway_with_keys_is_open_to_pages_of_others(gateway, config) -> None:
    guarded = config.model_copy(update={"auth": "keys"})
    async with gateway(guarded) as running, running.http() as http:
        headers = {"Origin": "http://shop.example", "Host": "play.example"}
        assert (await http.get(protocol.WORLDS_PATH, headers=headers)).status_code == 200


async def test_a_fault_is_told_by_its_number_and_logged_once(gateway, caplog) -> None:
    async with gateway() as running, running.http() as http:
        object.__setattr__(running.parts, "pool", "hunter2")
        answer = await http.get(protocol.WORLDS_PATH)
        object.__setattr__(running.parts, "pool", running.parts.admission._pool)
    told = answer.json()
    assert (answer.status_code, told["code"]) == (500, "internal")
    assert "hunter2" not in answer.text
    assert "Traceback" not in answer.text
    logged = [record for record in caplog.records if record.exc_info]
    assert len(logged) == 1
    assert logged[0].args[1] in told["message"]


async def test_a_body_without_an_end_is_cut_off(gateway) -> None:
    async def pieces():
        for _ in range(100):
            yield b"x" * 10_000

    async with gateway() as running, running.http() as http:
        answer = await http.post(protocol.TOKEN_PATH, content=pieces())
        assert answer.status_code == 400
        assert (await http.get(protocol.WORLDS_PATH)).status_code == 200
