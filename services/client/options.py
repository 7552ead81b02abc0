"""How a session starts, and how long a client waits for what. Plain values."""

from __future__ import annotations

from dataclasses import dataclass

from ..contract import Encoding
from ..protocol import LatePolicy


@dataclass(frozen=True, kw_only=True)
class SessionOptions:
    """How a session starts.

    Attributes:
        world: a world of the release; the first when neither this nor an image is given.
        image: a start image of one's own, an encoded JPEG or PNG.
        prompt: what the world looks like, in words; the world's own when absent.
        seed: seed of the session's noise.
        enable_memory: whether earlier frames of the same place are looked up.
        encoding: how frames are encoded.
        late_frames: `keep`: a slow reader slows its own world; `drop`: late frames are left out,
            so that a slow reader sees what is new.
        release: digest or version of a release; by the gateway's traffic share when absent.
        traceparent: W3C trace context that the session's traces become part of.
    """

    world: str | None = None
    image: bytes | None = None
    prompt: str | None = None
    seed: int = 0
    enable_memory: bool = True
    encoding: Encoding = "jpeg"
    late_frames: LatePolicy = "keep"
    release: str | None = None
    traceparent: str | None = None


@dataclass(frozen=True, kw_only=True)
class Timeouts:
    """How long a client waits, in seconds.

    Attributes:
        connect_seconds: for a connection or a token.
        open_seconds: from `connect` to the start image, the queue included.
        reply_seconds: for the answer to pause, continue, snapshot, ping and close.
        frame_seconds: for the next frame while the server owes one.
        reconnect_seconds: from a broken connection to the resumed session, all attempts together.
        keepalive_seconds: silence after which the other side is asked for a sign of life.
    """

    connect_seconds: float = 10.0
    open_seconds: float = 120.0
    reply_seconds: float = 15.0
    frame_seconds: float = 60.0
    reconnect_seconds: float = 60.0
    keepalive_seconds: float = 10.0


DEFAULT_OPTIONS = SessionOptions()
DEFAULT_TIMEOUTS = Timeouts()
