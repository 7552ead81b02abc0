"""What a session was begun with, which never changes: whoever goes on with it needs all of it.

It does not know what has become of the session since.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class SessionRecord(BaseModel):
    """The beginning of a session."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    session_id: str
    release: str = Field(description="digest of the release that makes its frames")
    world: str = Field(description="name of the world, empty for an image of the client's own")
    prompt: str
    seed: int
    enable_memory: bool
    pitch_radians: float = Field(description="how far up the start image looks, radians")
    is_resumable: bool
    opened_at_ms: int = Field(
        ge=0, lt=10**13, description="when it was opened, milliseconds since 1970"
    )
