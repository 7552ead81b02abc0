"""The SDK for products: sessions over one gRPC stream each. Needs no torch and no worldloom.

It imports `services.contract`, numpy, pydantic and tritonclient alone; decoding frames to pixels
needs OpenCV too.
"""

from services.client.play import PlayResult, play_actions
from services.client.session import Frame, Session, SessionOptions, describe, open_session
from services.contract import ErrorCode, SessionError

__all__ = [
    "ErrorCode",
    "Frame",
    "PlayResult",
    "Session",
    "SessionError",
    "SessionOptions",
    "describe",
    "open_session",
    "play_actions",
]
