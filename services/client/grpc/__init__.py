"""Sessions straight to Triton, one gRPC stream each: no gateway, no reconnecting.

It needs the extra `grpc` (tritonclient) and knows nothing of the WebSocket protocol.
"""

from .play import PlayResult, play_actions
from .session import Frame, Session, SessionOptions, describe, open_session

__all__ = [
    "Frame",
    "PlayResult",
    "Session",
    "SessionOptions",
    "describe",
    "open_session",
    "play_actions",
]
