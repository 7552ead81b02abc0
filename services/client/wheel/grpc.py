"""Sessions straight to Triton, one gRPC stream each; needs the extra `grpc`."""

from worldloom_client.client.grpc import (
    Frame,
    PlayResult,
    Session,
    SessionOptions,
    describe,
    open_session,
    play_actions,
)

__all__ = [
    "Frame",
    "PlayResult",
    "Session",
    "SessionOptions",
    "describe",
    "open_session",
    "play_actions",
]
