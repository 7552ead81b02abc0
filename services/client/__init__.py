"""The SDK for products. Needs no torch and no worldloom.

It imports `services.contract`, `services.protocol` and `services.session_state` alone of the
project, all relatively, since it is also a wheel of its own (`worldloom-client`). Sessions
straight to Triton are in `grpc`; decoding frames to pixels needs OpenCV (`decode`).
"""

from ..contract import ErrorCode, SessionError
from ..session_state import SessionState
from .frame import Frame
from .options import DEFAULT_OPTIONS, SessionOptions, Timeouts
from .play import PlayResult, play_actions, play_actions_sync
from .session import Receipt, Session, connect
from .sync import SyncReceipt, SyncSession, connect_sync

__all__ = [
    "DEFAULT_OPTIONS",
    "ErrorCode",
    "Frame",
    "PlayResult",
    "Receipt",
    "Session",
    "SessionError",
    "SessionOptions",
    "SessionState",
    "SyncReceipt",
    "SyncSession",
    "Timeouts",
    "connect",
    "connect_sync",
    "play_actions",
    "play_actions_sync",
]
