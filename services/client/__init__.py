"""The SDK for products. Needs no torch and no worldloom.

It imports `services.contract`, `services.protocol` and `services.session_state` alone of the
project, all relatively, since it is also a wheel of its own (`worldloom-client`). Sessions
straight to Triton are in `grpc`; decoding frames to pixels needs OpenCV (`decode`).
"""

from ..contract import ErrorCode, SessionError

__all__ = ["ErrorCode", "SessionError"]
