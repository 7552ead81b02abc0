"""One encoded frame as a caller gets it. It does not decode."""

from __future__ import annotations

from dataclasses import dataclass

from ..contract import Encoding
from ..protocol import HEADER_BYTES, KIND_H264_DELTA, KIND_JPEG, FrameHeader


@dataclass(frozen=True, slots=True)
class Frame:
    """One encoded frame.

    Attributes:
        frame_index: 0 is the start image.
        action_index: the action that led to the frame, -1 for the start image.
        segment_index: the segment that the frame was made in.
        encoding: jpeg, or h264 (Annex B, one access unit).
        is_key: whether a decoder can begin here.
        data: the encoded picture.
        sent_at_ms: the gateway's clock as it sent the frame, milliseconds since 1970.
        received_at: `time.monotonic` of this machine as the frame was read from the socket.
    """

    frame_index: int
    action_index: int
    segment_index: int
    encoding: Encoding
    is_key: bool
    data: bytes
    sent_at_ms: float
    received_at: float

    @classmethod
    def of_message(cls, message: bytes, received_at: float) -> Frame:
        """Return the frame of a binary message; raises `ValueError` for a foreign one."""
        header = FrameHeader.unpack(message)
        return cls(
            header.frame_index,
            header.action_index,
            header.segment_index,
            "jpeg" if header.kind == KIND_JPEG else "h264",
            header.kind != KIND_H264_DELTA,
            message[HEADER_BYTES:],
            header.sent_at_ms,
            received_at,
        )
