"""What is served: releases and the worlds that sessions can start in.

It knows the backends' descriptions and no sessions.
"""

from __future__ import annotations

from pydantic import BaseModel, Field

from services.contract import Encoding
from services.gateway.backends import Backend, BackendPool


class WorldAnswer(BaseModel):
    """One world."""

    name: str
    prompt: str
    image: str = Field(description="its start image as a data: URL, or empty")


class ReleaseAnswer(BaseModel):
    """One release that takes new sessions."""

    release: str = Field("", description="its digest, empty when it has none")
    model_version: str = Field("", description="its version in the registry, or empty")
    share: float = Field(0.0, description="its weight among new sessions, 0 for pinned ones only")
    height: int = Field(0, description="pixels")
    width: int = Field(0, description="pixels")
    frames_per_segment: int = 0
    frames_per_second: float = Field(0.0, description="pace at which players see frames")
    encodings: tuple[Encoding, ...] = ()
    worlds: tuple[WorldAnswer, ...] = ()


class WorldsAnswer(ReleaseAnswer):
    """The release that most new sessions go to, and all of them."""

    is_fake: bool = Field(False, description="whether pictures are drawn and no model is served")
    releases: tuple[ReleaseAnswer, ...] = Field((), description="largest share first")

    @classmethod
    def of(cls, pool: BackendPool, *, is_fake: bool) -> WorldsAnswer:
        """Return what the backends that are up and do not drain serve, each release once."""
        releases: dict[tuple[str, str], ReleaseAnswer] = {}
        for backend in pool:
            if not backend.is_up or backend.is_draining:
                continue
            answer = _release_of(backend)
            name = (answer.release, answer.model_version)
            if name not in releases or releases[name].share < answer.share:
                releases[name] = answer
        ordered = tuple(sorted(releases.values(), key=lambda release: -release.share))
        first = dict(ordered[0]) if ordered else {}
        return cls(is_fake=is_fake, releases=ordered, **first)


def _release_of(backend: Backend) -> ReleaseAnswer:
    served = backend.description
    if served is None:
        return ReleaseAnswer()
    worlds = tuple(
        WorldAnswer(name=world.name, prompt=world.prompt, image=_data_url(backend, world.name))
        for world in served.worlds
    )
    return ReleaseAnswer(
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


def _data_url(backend: Backend, world: str) -> str:
    image = backend.images.get(world, "")
    return f"data:image/jpeg;base64,{image}" if image else ""
