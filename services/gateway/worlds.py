"""What is served: releases and the worlds that sessions can start in.

It knows the backends' descriptions and no sessions.
"""

from __future__ import annotations

from pydantic import BaseModel, Field

from services.contract import Encoding
from services.gateway.backends import BackendPool


class WorldAnswer(BaseModel):
    """One world."""

    name: str
    prompt: str


class ReleaseAnswer(BaseModel):
    """One release that is served now."""

    release: str = Field(description="its digest, empty when it has none")
    model_version: str = Field(description="its version in the registry, or empty")
    share: float = Field(description="its weight among new sessions, 0 for pinned ones only")
    height: int = Field(description="pixels")
    width: int = Field(description="pixels")
    frames_per_segment: int
    frames_per_second: float = Field(description="pace at which players see frames")
    encodings: tuple[Encoding, ...]
    worlds: tuple[WorldAnswer, ...]


class WorldsAnswer(BaseModel):
    """All releases that take new sessions."""

    is_fake: bool = Field(description="whether pictures are drawn and no model is served")
    releases: tuple[ReleaseAnswer, ...]

    @classmethod
    def of(cls, pool: BackendPool, *, is_fake: bool) -> WorldsAnswer:
        """Return what the backends that are up and do not drain serve, each release once."""
        releases: dict[tuple[str, str], ReleaseAnswer] = {}
        for backend in pool:
            served = backend.description
            if served is None or not backend.is_up or backend.is_draining:
                continue
            worlds = tuple(WorldAnswer(name=w.name, prompt=w.prompt) for w in served.worlds)
            answer = ReleaseAnswer(
                release=served.release,
                model_version=backend.model_version,
                share=backend.share,
                height=served.height,
                width=served.width,
                frames_per_segment=served.frames_per_segment,
                frames_per_second=served.frames_per_second,
                encodings=served.encodings,
                worlds=worlds,
            )
            known = releases.get((served.release, backend.model_version))
            if known is None or known.share < answer.share:
                releases[served.release, backend.model_version] = answer
        ordered = sorted(releases.values(), key=lambda release: -release.share)
        return cls(is_fake=is_fake, releases=tuple(ordered))
