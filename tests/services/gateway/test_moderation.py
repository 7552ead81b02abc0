"""The check of prompts and images before a session opens."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from services import protocol
from services.contract import ErrorCode, SessionError
from services.gateway.moderation import AllowAll, Content, DeniedWords, require_allowed

pytestmark = pytest.mark.anyio
PROMPT = Content("shop", "a quiet forest", None)


class Slow:
    async def refusal_of(self, content) -> str | None:
        await asyncio.Event().wait()


class Broken:
    async def refusal_of(self, content) -> str | None:
        message = "the service of the check is down, its password is hunter2"
        raise ConnectionError(message)


async def refused(moderator, content=PROMPT, seconds=5.0) -> str:
    with pytest.raises(SessionError) as caught:
        await require_allowed(moderator, content, seconds)
    assert caught.value.code is ErrorCode.CONTENT_REFUSED
    return caught.value.message


async def test_what_is_allowed_passes() -> None:
    await require_allowed(AllowAll(), PROMPT, 5.0)
    await require_allowed(DeniedWords(["desert"]), PROMPT, 5.0)


async def test_a_denied_word_is_refused_in_any_case_and_not_repeated() -> None:
    assert "forest" not in await refused(DeniedWords(["FOREST"]))
    await require_allowed(DeniedWords(["fore"]), PROMPT, 5.0)


async def test_a_check_that_fails_or_takes_too_long_is_a_refusal() -> None:
    assert "hunter2" not in await refused(Broken())
    await refused(Slow(), seconds=0.01)


async def test_what_has_neither_prompt_nor_image_is_not_asked_about() -> None:
    await require_allowed(Broken(), Content("shop", None, None), 5.0)
    await refused(Broken(), Content("shop", None, np.zeros((2, 2, 3), np.uint8)))


async def test_a_refused_prompt_opens_no_session(gateway) -> None:
    async with gateway(moderator=DeniedWords(["forest"])) as running, running.connect() as player:
        await player.send(protocol.Open(prompt="a forest"))
        error = await player.receive()
        assert (error.code, error.is_fatal) == (ErrorCode.CONTENT_REFUSED, True)
        assert running.engine.num_sessions == 0
