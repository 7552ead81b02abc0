"""The limits of one engine, as its repository, the chart and the command line say them."""

from __future__ import annotations

from pydantic import Field

from services.inference.h264 import Preset
from worldloom.config import Config


class EngineConfig(Config):
    """Limits of one engine."""

    num_slots: int = Field(4, ge=1, description="sessions that may be open at once")
    max_unacknowledged_segments: int = Field(
        2, ge=1, description="segments sent ahead of the client's acknowledgement"
    )
    max_queued_actions: int = Field(4096, ge=1, description="actions that may wait, in frames")
    max_idle_seconds: float = Field(120.0, gt=0, description="silence that ends a session, seconds")
    max_session_seconds: float = Field(3600.0, gt=0, description="age that ends a session, seconds")
    last_acknowledgement_seconds: float = Field(
        1.0,
        ge=0,
        description="time that the client of a resumable session has to acknowledge the last "
        "frames, seconds; later the session is parked, so that they are not lost",
    )
    watch_seconds: float = Field(
        0.25, gt=0, description="how often sessions without work are checked for cancellation"
    )
    playout_frames_per_second: float = Field(
        16.0, gt=0, description="pace at which players see frames; sets the deadlines"
    )
    jpeg_quality: int = Field(95, ge=1, le=100, description="JPEG quality of the frames sent")
    h264_crf: int = Field(
        20, ge=0, le=51, description="constant quality of H.264, 0 is lossless and 51 the worst"
    )
    h264_preset: Preset = Field("superfast", description="x264's trade of time for size")
    park_after_seconds: float = Field(
        30.0, ge=0, description="pause after which a session's slot is free for others, seconds"
    )
    max_parked_sessions: int = Field(
        64, ge=0, description="sessions without a stream that wait in host memory to be resumed"
    )
    max_parked_seconds: float = Field(
        900.0, gt=0, description="time that they wait, and the longest pause of others, seconds"
    )
    max_parked_bytes: int = Field(
        4 << 30, ge=0, description="host memory that they may take, bytes"
    )
    durable_every_segments: int = Field(
        1, ge=1, description="segments after which a resumable session's state is stored again"
    )
    max_store_wait_seconds: float = Field(
        1.0,
        ge=0,
        description="how long a new resumable session waits at most, before its client is told "
        "that it is ready, until the store has its start, seconds",
    )
    store_retry_seconds: float = Field(
        1.0, gt=0, description="wait before a state that the store refused is sent again, seconds"
    )
    max_stored_seconds: float = Field(
        86400.0, gt=0, description="age at which stored sessions that nobody ended are deleted"
    )
