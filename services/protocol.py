"""The WebSocket protocol between the gateway and its clients, version 1.

Text frames are JSON: one message of `ClientMessage` from the client, one of `ServerMessage` from
the gateway. Binary frames go to the client only; each is one encoded video frame behind a header
of 24 bytes (`FrameHeader`). A connection (`/v1/session`, subprotocol `worldloom.v1`) carries one
session: its first message is `open` or `resume`, its last `ended` or a fatal `error`.

Frames and actions are numbered as in `contract`: frame 0 is the start image, action k leads from
frame k to frame k+1. A `segment` message comes before the frames of its segment; it acknowledges
that its actions were obeyed, and it is answered by `frames_received`, which gives the server its
credits back. A session whose connection broke is resumed with the resume token of the latest
`ready`: each token works once, the next one is in the next `ready`.

This module imports `contract` alone, so that clients and servers share it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from .contract import (
    MAX_MOUSE_UNITS,
    MAX_PROMPT_LENGTH,
    NUM_KEYS,
    NUM_MOUSE_AXES,
    Encoding,
    EndReason,
    ErrorCode,
    bad_message,
)

PROTOCOL_VERSION = 1
SUBPROTOCOL = "worldloom.v1"
SESSION_PATH = "/v1/session"
TOKEN_PATH = "/v1/token"
WORLDS_PATH = "/v1/worlds"

MAX_ACTIONS_PER_MESSAGE = 512
MAX_IMAGE_BYTES = 2 * 1024 * 1024  # of the encoded image, before base64
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
MAX_TOKEN_LENGTH = 4096

_Key = Annotated[float, Field(ge=0, le=1)]
_Turn = Annotated[float, Field(ge=-MAX_MOUSE_UNITS, le=MAX_MOUSE_UNITS)]
KeyRow = Annotated[list[_Key], Field(min_length=NUM_KEYS, max_length=NUM_KEYS)]
MouseRow = Annotated[list[_Turn], Field(min_length=NUM_MOUSE_AXES, max_length=NUM_MOUSE_AXES)]
LatePolicy = Literal["keep", "drop"]


class _FromClient(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class _FromServer(BaseModel):
    """Fields that a newer gateway added are passed over, so that old clients keep working."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Open(_FromClient):
    """Ask for a session; answered by `queued` (while all slots are in use), then `ready`."""

    type: Literal["open"] = "open"
    version: int = Field(PROTOCOL_VERSION, description="version of this protocol")
    token: str | None = Field(
        None,
        max_length=MAX_TOKEN_LENGTH,
        description="short-lived token, where no Authorization header carries it",
    )
    world: str | None = Field(None, max_length=200, description="name of a world of the release")
    image: str | None = Field(
        None, description="start image of one's own: base64 of a JPEG or PNG, made to fit"
    )
    prompt: str | None = Field(None, max_length=MAX_PROMPT_LENGTH, description="else the world's")
    seed: int = Field(0, ge=0, lt=2**53, description="seed of the noise, exact in a double")
    enable_memory: bool = Field(True, description="look up earlier frames of the same place")
    encoding: Encoding = Field("jpeg", description="how frames are encoded")
    late_frames: LatePolicy = Field(
        "keep",
        description="keep: a slow client slows its own world; drop: late frames are left out",
    )
    release: str | None = Field(
        None, max_length=200, description="digest or version of a release, else by traffic share"
    )
    traceparent: str | None = Field(None, max_length=100, description="W3C trace context")


class Resume(_FromClient):
    """Go on with a session whose connection broke; needs no other token."""

    type: Literal["resume"] = "resume"
    version: int = Field(PROTOCOL_VERSION, description="version of this protocol")
    resume_token: str = Field(max_length=MAX_TOKEN_LENGTH, description="of the latest `ready`")
    last_frame_index: int = Field(ge=0, description="last frame that the client has")
    encoding: Encoding = Field("jpeg", description="how frames are encoded from now on")


class Actions(_FromClient):
    """Append actions, one a frame, to the session's queue."""

    type: Literal["actions"] = "actions"
    action_index: int = Field(ge=0, description="index of the first action of this message")
    keyboard: list[KeyRow] = Field(
        min_length=1, description="W, S, A, D and two unused keys a frame, 0 or 1 each"
    )
    mouse: list[MouseRow] = Field(
        min_length=1, description="pitch and yaw rate a frame, in mouse units, -12 to 12"
    )


class FramesReceived(_FromClient):
    """Acknowledge every segment up to and including this one."""

    type: Literal["frames_received"] = "frames_received"
    segment_index: int = Field(ge=0)


class Pause(_FromClient):
    """Make no more frames until `continue`; answered by `paused`."""

    type: Literal["pause"] = "pause"


class Continue(_FromClient):
    """End a pause; answered by `continued`."""

    type: Literal["continue"] = "continue"


class Snapshot(_FromClient):
    """Write the session's state into the store now; answered by `snapshot_taken`."""

    type: Literal["snapshot"] = "snapshot"


class Close(_FromClient):
    """End the session, at once or after its queued actions; answered by `ended`."""

    type: Literal["close"] = "close"
    finish_queue: bool = Field(False, description="make the frames of all queued actions first")


class Ping(_FromClient):
    """Ask for a `pong` with the same number: a round trip measured by the client."""

    type: Literal["ping"] = "ping"
    nonce: int = Field(0, ge=0, lt=2**53)


ClientMessage = Annotated[
    Open | Resume | Actions | FramesReceived | Pause | Continue | Snapshot | Close | Ping,
    Field(discriminator="type"),
]
_CLIENT: TypeAdapter[ClientMessage] = TypeAdapter(ClientMessage)


class Queued(_FromServer):
    """The session waits for a slot; told again whenever its position changes."""

    type: Literal["queued"] = "queued"
    position: int = Field(description="1 is next")
    length: int = Field(description="sessions that wait")


class Ready(_FromServer):
    """The session is open; the start image follows as frame 0, unless the session was resumed."""

    type: Literal["ready"] = "ready"
    version: int = PROTOCOL_VERSION
    session_id: str
    resume_token: str = Field(description="for the next `resume`, once")
    release: str = Field(description="digest of the release, empty when it has none")
    model_version: str = Field(description="version of the release in the registry, or empty")
    world: str = Field(description="name of the world, empty for an image of the client's own")
    prompt: str
    seed: int
    height: int = Field(description="pixels")
    width: int = Field(description="pixels")
    frames_per_segment: int
    frames_per_second: float = Field(description="pace at which players see frames")
    max_unacknowledged_segments: int
    max_actions_per_message: int = MAX_ACTIONS_PER_MESSAGE
    encoding: Encoding
    next_action_index: int = Field(description="first action that the server has not got")
    next_segment_index: int = Field(0, description="number of the next segment")
    is_resumed: bool = False
    is_paused: bool = Field(False, description="the session was paused when it was dropped")
    max_idle_seconds: float = Field(description="silence that ends the session")
    max_session_seconds: float = Field(description="age that ends the session")


class ActionsReceived(_FromServer):
    """The actions are queued."""

    type: Literal["actions_received"] = "actions_received"
    action_index: int
    num_actions: int
    num_queued_actions: int = Field(description="actions that wait for their frames")


class Segment(_FromServer):
    """A segment's frames follow, less those that were dropped for being late."""

    type: Literal["segment"] = "segment"
    segment_index: int
    first_frame_index: int
    first_action_index: int = Field(description="the first action that these frames obey")
    num_frames: int = Field(description="frames of the segment")
    num_dropped: int = Field(0, description="frames left out so far, over the whole session")
    waited_seconds: float = Field(description="wait of the segment's last action for a device")
    segment_seconds: float = Field(description="time the model took")
    action_to_frame_seconds: float = Field(
        description="from the gateway's receipt of the first action to this message"
    )
    durable_frame_index: int = Field(
        description="frames up to here outlive the server; keep the actions after them"
    )


class Paused(_FromServer):
    """The session is paused."""

    type: Literal["paused"] = "paused"


class Continued(_FromServer):
    """The pause is over."""

    type: Literal["continued"] = "continued"


class SnapshotTaken(_FromServer):
    """The state of the session is in the store."""

    type: Literal["snapshot_taken"] = "snapshot_taken"
    frame_index: int = Field(description="last frame of the state")


class Notice(_FromServer):
    """Something that a player should be shown before it happens."""

    type: Literal["notice"] = "notice"
    kind: Literal["idle", "session_limit", "draining", "backend_lost"]
    seconds: float = Field(0.0, description="time until it happens")


class Pong(_FromServer):
    """The answer to a `ping`."""

    type: Literal["pong"] = "pong"
    nonce: int


class Ended(_FromServer):
    """The session is over; the connection closes after this message."""

    type: Literal["ended"] = "ended"
    reason: EndReason
    num_frames: int = Field(description="frames made, the start image not counted")


class Error(_FromServer):
    """A message that was refused; after a fatal one the connection closes."""

    type: Literal["error"] = "error"
    code: ErrorCode
    message: str
    is_retryable: bool
    is_fatal: bool
    refused: str = Field("", description="type of the message that was refused, if it was one")


ServerMessage = Annotated[
    Queued
    | Ready
    | ActionsReceived
    | Segment
    | Paused
    | Continued
    | SnapshotTaken
    | Notice
    | Pong
    | Ended
    | Error,
    Field(discriminator="type"),
]
_SERVER: TypeAdapter[ServerMessage] = TypeAdapter(ServerMessage)

# How a WebSocket is closed after a fatal error; 4000-4999 is free for applications.
CLOSE_NORMAL = 1000
CLOSE_GOING_AWAY = 1001
CLOSE_REFUSED = 4400  # the message was wrong
CLOSE_UNAUTHORIZED = 4401
CLOSE_NOT_FOUND = 4404
CLOSE_TOO_LARGE = 4413
CLOSE_TRY_AGAIN = 4429  # quota, queue or rate
CLOSE_FAILED = 4500
CLOSE_NO_BACKEND = 4503


def parse_client_message(text: str | bytes) -> ClientMessage:
    """Return a client's message.

    Raises:
        SessionError: `bad_message`, naming the field, the rule and the value.
    """
    try:
        return _CLIENT.validate_json(text)
    except ValidationError as error:
        raise bad_message(error) from error


def parse_server_message(text: str | bytes) -> ServerMessage:
    """Return the gateway's message; raises pydantic's `ValidationError` for a foreign one."""
    return _SERVER.validate_json(text)


# version, kind, zero, segment, frame, action, gateway's clock
_HEADER = struct.Struct("<BBHIIid")
HEADER_BYTES = _HEADER.size
KIND_JPEG = 0
KIND_H264_KEY = 1
KIND_H264_DELTA = 2


@dataclass(frozen=True)
class FrameHeader:
    """What stands before an encoded frame in a binary message, little-endian, 24 bytes.

    Attributes:
        kind: JPEG, or H.264 (Annex B) that can or cannot be decoded by itself.
        segment_index: the frame's segment, 0 for the start image too.
        frame_index: 0 is the start image.
        action_index: the action that led to the frame, -1 for the start image.
        sent_at_ms: the gateway's clock as the frame was sent, milliseconds since 1970.
    """

    kind: int
    segment_index: int
    frame_index: int
    action_index: int
    sent_at_ms: float

    def pack(self) -> bytes:
        """Return the 24 bytes."""
        return _HEADER.pack(
            PROTOCOL_VERSION,
            self.kind,
            0,
            self.segment_index,
            self.frame_index,
            self.action_index,
            self.sent_at_ms,
        )

    @classmethod
    def unpack(cls, data: bytes) -> FrameHeader:
        """Return the header of a binary message; raises `ValueError` for a foreign one."""
        if len(data) < HEADER_BYTES or data[0] != PROTOCOL_VERSION:
            message = (
                f"{len(data)} bytes that begin with {data[:1].hex() or 'nothing'}, expected a frame"
                f" behind a header of {HEADER_BYTES} bytes of version {PROTOCOL_VERSION}"
            )
            raise ValueError(message)
        _, kind, _, segment, frame, action, sent_at_ms = _HEADER.unpack_from(data)
        return cls(kind, segment, frame, action, sent_at_ms)
