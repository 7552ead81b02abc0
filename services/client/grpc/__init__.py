"""Sessions straight to Triton, one gRPC stream each: no gateway, no reconnecting.

It needs the extra `grpc` (tritonclient) and knows nothing of the WebSocket protocol.
"""

from .play import PlayResult, play_actions
from .session import DEFAULT_OPTIONS, Frame, Session, SessionOptions, describe, open_session

__all__ = [
    "DEFAULT_OPTIONS",
    "Frame",
    "PlayResult",
    "Session",
    "SessionOptions",
    "describe",
    "open_session",
    "play_actions",
]
