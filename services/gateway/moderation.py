"""The hook by which a prompt or a start image is checked before a session opens.

A service of one's own implements `Moderator`; here are one that allows everything and an example
that refuses words. A check that fails or takes too long is a refusal. It does not know sessions.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from services.contract import ErrorCode, SessionError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Content:
    """What a client wants to start with.

    Attributes:
        key_id: whose client it is.
        prompt: its words, if it has any of its own.
        image: its start image [H, W, 3], RGB, if it has one.
    """

    key_id: str
    prompt: str | None
    image: NDArray[np.uint8] | None


class Moderator(Protocol):
    """Says what may not be shown."""

    async def refusal_of(self, content: Content) -> str | None:
        """Return why the content is refused, for the client to read, or None."""


class AllowAll:
    """Refuses nothing."""

    async def refusal_of(self, _content: Content) -> str | None:
        """Return None."""
        return None


class DeniedWords:
    """Refuses prompts that have one of some words; an example, not a filter to rely on."""

    def __init__(self, words: Iterable[str]) -> None:
        """Take the words, in any case."""
        self._pattern = re.compile(r"\b(" + "|".join(map(re.escape, words)) + r")\b", re.IGNORECASE)

    async def refusal_of(self, content: Content) -> str | None:
        """Return a sentence that does not repeat the word."""
        if content.prompt is not None and self._pattern.search(content.prompt):
            return "the prompt has a word that is not allowed here"
        return None


async def require_allowed(moderator: Moderator, content: Content, seconds: float) -> None:
    """Return when the content may be shown.

    Raises:
        SessionError: `content_refused`, also when the check fails or takes longer than `seconds`.
    """
    if content.prompt is None and content.image is None:
        return
    try:
        async with asyncio.timeout(seconds):
            refusal = await moderator.refusal_of(content)
    except Exception:
        # Whatever is wrong with the check, nobody has said that the content is allowed.
        logger.exception("moderation_failed")
        refusal = "the content could not be checked, so it is refused"
    if refusal is not None:
        raise SessionError(ErrorCode.CONTENT_REFUSED, refusal)
