"""The wire contract of a session: tensor names, messages, events, error codes, limits.

One gRPC stream carries one session. Every request has a `message` (JSON); `session_start` may add
an `image`, `actions` adds `keyboard` and `mouse`. Every response has an `event` (JSON); `frames`
events add the encoded `frames` with their `frame_index` and `action_index`. Frames come on the
request that opened or resumed the session, every other request is answered by one event and is
then over.

Frame 0 of a session is its start image (it comes with `session_ready`); action k, counted from 0
in the order sent, moves the camera from frame k to frame k+1, so `frame_index` is
`action_index + 1`. A server makes a segment as soon as `frames_per_segment` actions wait for it
and stops while `max_unacknowledged_segments` of them are not acknowledged by `frames_received`.
An action is acknowledged twice: by `actions_received` when it is queued, and by the `frames` event
that carries the first frame which obeys it.

A session that is resumable outlives its stream: it is parked when the stream breaks and goes on
with `session_resume`, on this server or on another one of the same release that reads the same
store. `session_ready` then says from which action on the server needs to be told again.

This module imports nothing of the project and no Triton, so that clients and servers share it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

MODEL_NAME = "world"

MESSAGE = "message"
IMAGE = "image"
KEYBOARD = "keyboard"
MOUSE = "mouse"
EVENT = "event"
FRAMES = "frames"
FRAME_INDEX = "frame_index"
ACTION_INDEX = "action_index"

NUM_KEYS = 6
NUM_MOUSE_AXES = 2
MAX_MOUSE_UNITS = 12.0  # a frame, either way
MAX_SESSION_ID_LENGTH = 64
MAX_PROMPT_LENGTH = 2000
_MAX_QUOTED = 200  # characters of a client's words in an answer

# How frames are encoded. A segment of H.264 begins with a key frame and is Annex B, one access
# unit a frame, so that a decoder can begin with any segment.
Encoding = Literal["jpeg", "h264"]


class TensorSpec(BaseModel):
    """One tensor of the model as Triton's configuration declares it; -1 is any length."""

    model_config = ConfigDict(frozen=True)

    name: str
    data_type: Literal["TYPE_STRING", "TYPE_UINT8", "TYPE_FP32", "TYPE_INT32"]
    dims: tuple[int, ...]
    is_optional: bool = False


# Shapes are open here and checked by the engine, which can name the tensor in an `error` event.
INPUTS = (
    TensorSpec(name=MESSAGE, data_type="TYPE_STRING", dims=(1,)),
    TensorSpec(name=IMAGE, data_type="TYPE_UINT8", dims=(-1, -1, -1), is_optional=True),
    TensorSpec(name=KEYBOARD, data_type="TYPE_FP32", dims=(-1, -1), is_optional=True),
    TensorSpec(name=MOUSE, data_type="TYPE_FP32", dims=(-1, -1), is_optional=True),
)
OUTPUTS = (
    TensorSpec(name=EVENT, data_type="TYPE_STRING", dims=(1,)),
    TensorSpec(name=FRAMES, data_type="TYPE_STRING", dims=(-1,)),
    TensorSpec(name=FRAME_INDEX, data_type="TYPE_INT32", dims=(-1,)),
    TensorSpec(name=ACTION_INDEX, data_type="TYPE_INT32", dims=(-1,)),
)


class ErrorCode(StrEnum):
    """Why a request was refused or a session ended."""

    BAD_MESSAGE = "bad_message"
    BAD_TENSOR = "bad_tensor"
    UNKNOWN_WORLD = "unknown_world"
    UNKNOWN_SESSION = "unknown_session"
    UNKNOWN_RELEASE = "unknown_release"
    SESSION_EXISTS = "session_exists"
    WRONG_STATE = "wrong_state"
    NO_FREE_SLOT = "no_free_slot"
    TOO_MANY_ACTIONS = "too_many_actions"
    SHUTTING_DOWN = "shutting_down"
    GENERATION_FAILED = "generation_failed"
    STATE_LOST = "state_lost"
    # Raised by the gateway.
    UNSUPPORTED_VERSION = "unsupported_version"
    TOO_LARGE = "too_large"
    BAD_IMAGE = "bad_image"
    CONTENT_REFUSED = "content_refused"
    BAD_KEY = "bad_key"
    BAD_TOKEN = "bad_token"
    EXPIRED_TOKEN = "expired_token"
    REPLAYED_TOKEN = "replayed_token"
    QUOTA_EXCEEDED = "quota_exceeded"
    RATE_LIMITED = "rate_limited"
    QUEUE_FULL = "queue_full"
    QUEUE_TIMEOUT = "queue_timeout"
    NO_BACKEND = "no_backend"
    INTERNAL = "internal"
    # Raised by clients only: nothing on the wire says these.
    SESSION_ENDED = "session_ended"
    DISCONNECTED = "disconnected"
    TIMEOUT = "timeout"


RETRYABLE = frozenset(
    {
        ErrorCode.NO_FREE_SLOT,
        ErrorCode.TOO_MANY_ACTIONS,
        ErrorCode.SHUTTING_DOWN,
        ErrorCode.QUOTA_EXCEEDED,
        ErrorCode.RATE_LIMITED,
        ErrorCode.QUEUE_FULL,
        ErrorCode.QUEUE_TIMEOUT,
        ErrorCode.NO_BACKEND,
        ErrorCode.DISCONNECTED,
        ErrorCode.TIMEOUT,
    }
)


class SessionError(Exception):
    """A request that was refused, or a session that is over for a reason nobody asked for."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        """Keep the code beside the sentence."""
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def is_retryable(self) -> bool:
        """Tell whether the same request may succeed later."""
        return self.code in RETRYABLE


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


SessionId = Annotated[str, Field(min_length=1, max_length=MAX_SESSION_ID_LENGTH)]


class SessionStart(_Wire):
    """Open a session: in a named world, in an image of one's own, or in the first world."""

    type: Literal["session_start"] = "session_start"
    session_id: SessionId = Field(description="chosen by the client, not to be guessed")
    world: str | None = Field(None, description="name of a world of the release")
    prompt: str | None = Field(None, max_length=MAX_PROMPT_LENGTH, description="else the world's")
    seed: int = Field(0, ge=0, lt=2**63, description="seed of the session's noise")
    enable_memory: bool = Field(True, description="look up earlier frames of the same place")
    encoding: Encoding = Field("jpeg", description="how frames are encoded")
    is_resumable: bool = Field(False, description="park the session when its stream breaks")


class SessionResume(_Wire):
    """Go on with a session whose stream is over, or take it over from a stream that still hangs.

    The server makes no frame again that the client says it has; the actions from
    `session_ready.next_action_index` on must be sent again.
    """

    type: Literal["session_resume"] = "session_resume"
    session_id: SessionId
    last_frame_index: int = Field(ge=0, description="last frame that the client has")
    encoding: Encoding = Field("jpeg", description="how frames are encoded from now on")


class ActionsMessage(_Wire):
    """Append actions [F, 6] and [F, 2] to the session's queue."""

    type: Literal["actions"] = "actions"
    session_id: SessionId
    action_index: int = Field(ge=0, description="index of the first action of this message")


class FramesReceived(_Wire):
    """Acknowledge every segment up to and including this one: gives the server its credits."""

    type: Literal["frames_received"] = "frames_received"
    session_id: SessionId
    segment_index: int = Field(ge=0)


class SessionPause(_Wire):
    """Make no more segments until `session_continue`; the slot may be given to another."""

    type: Literal["session_pause"] = "session_pause"
    session_id: SessionId


class SessionContinue(_Wire):
    """End a pause; answered by an error `no_free_slot` while the device is full."""

    type: Literal["session_continue"] = "session_continue"
    session_id: SessionId


class SessionSnapshot(_Wire):
    """Write the session's state into the store now; answered by `snapshot_taken`."""

    type: Literal["session_snapshot"] = "session_snapshot"
    session_id: SessionId


class SessionStop(_Wire):
    """End the session: at once, or after the queued actions have become frames."""

    type: Literal["session_stop"] = "session_stop"
    session_id: SessionId
    finish_queue: bool = Field(False, description="make the frames of all queued actions first")


class Describe(_Wire):
    """Ask what the server serves; needs no session."""

    type: Literal["describe"] = "describe"
    with_images: bool = Field(False, description="tell with each world what it looks like")


Message = Annotated[
    SessionStart
    | SessionResume
    | ActionsMessage
    | FramesReceived
    | SessionPause
    | SessionContinue
    | SessionSnapshot
    | SessionStop
    | Describe,
    Field(discriminator="type"),
]
_MESSAGES: TypeAdapter[Message] = TypeAdapter(Message)


def parse_message(text: bytes) -> Message:
    """Return the message of a request.

    Raises:
        SessionError: `bad_message`, naming the field, the rule and the value.
    """
    try:
        return _MESSAGES.validate_json(text)
    except ValidationError as error:
        raise bad_message(error) from error


def bad_message(error: ValidationError) -> SessionError:
    """Return the refusal of a message, naming the field, the rule and the value.

    What the client sent is quoted in short, so that an answer is never larger than a question.
    """
    first = error.errors(include_url=False)[0]
    path = ".".join(map(str, first["loc"]))[:_MAX_QUOTED] or "message"
    rule, value = first["msg"][:_MAX_QUOTED], str(first["input"])[:_MAX_QUOTED]
    return SessionError(ErrorCode.BAD_MESSAGE, f"{path}: {rule} (value {value!r})")


class _Event(BaseModel):
    """Fields that a newer server added are passed over, so that old clients keep working."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class SessionReady(_Event):
    """The session is open; its response carries the start image as frame 0.

    After a resume no image comes with it.
    """

    type: Literal["session_ready"] = "session_ready"
    session_id: str
    release: str = Field(description="digest of the release, empty when it has none")
    world: str = Field(description="name of the world, empty for an image of the client's own")
    prompt: str
    height: int = Field(description="pixels")
    width: int = Field(description="pixels")
    frames_per_segment: int
    max_unacknowledged_segments: int
    frames_per_second: float = Field(16.0, description="pace at which players see frames")
    encoding: Encoding = "jpeg"
    next_action_index: int = Field(0, description="first action that the server has not got")
    next_segment_index: int = Field(0, description="number of the next segment")
    is_resumed: bool = False
    is_paused: bool = Field(False, description="the session was paused when its stream broke")


class ActionsReceived(_Event):
    """The actions are queued."""

    type: Literal["actions_received"] = "actions_received"
    session_id: str
    action_index: int
    num_actions: int
    num_queued_actions: int = Field(description="actions that wait for their frames")


class FramesEvent(_Event):
    """A segment of frames."""

    type: Literal["frames"] = "frames"
    session_id: str
    segment_index: int
    num_frames: int
    segment_seconds: float = Field(description="time the generator took")
    waited_seconds: float = Field(0.0, description="wait of the segment's last action for a device")
    encode_seconds: float = Field(0.0, description="time that encoding took")
    slack_seconds: float = Field(
        0.0, description="play time that was left when the segment was ready; below 0 is late"
    )
    durable_frame_index: int = Field(
        0, description="frames up to here outlive this server; keep the actions after them"
    )


class SnapshotTaken(_Event):
    """The state of the session is in the store."""

    type: Literal["snapshot_taken"] = "snapshot_taken"
    session_id: str
    frame_index: int = Field(description="last frame of the state")


class Acknowledged(_Event):
    """A `frames_received`, `session_pause`, `session_continue` or `session_stop` was taken in."""

    type: Literal["acknowledged"] = "acknowledged"
    session_id: str


EndReason = Literal[
    "finished", "stopped", "idle", "too_long", "cancelled", "failed", "shutdown", "taken_over"
]


class SessionEnd(_Event):
    """The session is over and its slot is free."""

    type: Literal["session_end"] = "session_end"
    session_id: str
    reason: EndReason
    num_frames: int = Field(description="frames sent, the start image not counted")


class ErrorEvent(_Event):
    """A request that was refused; the session, if there is one, goes on."""

    type: Literal["error"] = "error"
    code: ErrorCode
    message: str
    retryable: bool
    session_id: str = ""

    @classmethod
    def of(cls, error: SessionError, session_id: str = "") -> ErrorEvent:
        """Return the event that tells a client of an error."""
        return cls(
            code=error.code,
            message=error.message,
            retryable=error.is_retryable,
            session_id=session_id,
        )


class WorldInfo(_Event):
    """One world that a session can start in."""

    name: str
    prompt: str
    image: str = Field("", description="base64 of its start image as JPEG, when it was asked for")


class Description(_Event):
    """What the server serves and how full it is."""

    type: Literal["description"] = "description"
    release: str
    height: int
    width: int
    frames_per_segment: int
    worlds: tuple[WorldInfo, ...]
    num_slots: int
    num_sessions: int = Field(description="sessions that hold a slot")
    num_parked: int = Field(0, description="sessions that wait in memory to be resumed")
    frames_per_second: float = Field(16.0, description="pace at which players see frames")
    encodings: tuple[Encoding, ...] = ("jpeg",)


Event = Annotated[
    SessionReady
    | ActionsReceived
    | FramesEvent
    | SnapshotTaken
    | Acknowledged
    | SessionEnd
    | ErrorEvent
    | Description,
    Field(discriminator="type"),
]
_EVENTS: TypeAdapter[Event] = TypeAdapter(Event)


def parse_event(text: bytes) -> Event:
    """Return the event of a response; raises pydantic's `ValidationError` for a foreign one."""
    return _EVENTS.validate_json(text)


def to_json(value: BaseModel) -> bytes:
    """Return the JSON text that a message or an event travels as."""
    return value.model_dump_json().encode()


def require_shape(
    name: str, shape: tuple[int, ...], expected: Mapping[int, int], rank: int
) -> None:
    """Check a tensor's rank and the lengths of some of its axes.

    Raises:
        SessionError: `bad_tensor`, naming the tensor, its shape and the shape expected.
    """
    wanted = [str(expected.get(axis, "any")) for axis in range(rank)]
    fits = len(shape) == rank and all(shape[axis] == size for axis, size in expected.items())
    if not fits or 0 in shape:
        sentence = f"{name} has shape {list(shape)}, expected [{', '.join(wanted)}]"
        raise SessionError(ErrorCode.BAD_TENSOR, sentence)
