"""From the engine's events to the player's messages, and back: names, frames, figures.

It knows both vocabularies, the contract's and the protocol's, and no transport: what goes to the
player goes into an outbox, what goes to the engine is returned.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel

from services import contract, protocol
from services.contract import ErrorCode, SessionError
from services.gateway.action_log import ActionLog, LoggedActions
from services.gateway.link import NO_TENSORS, Received, Tensors
from services.gateway.outbox import Outbox, OutgoingFrame
from services.gateway.resume_token import ResumeTicket
from services.gateway.settings import SessionLimits
from services.session_state import SessionLife, SessionState

_JPEG_START = b"\xff\xd8"  # a start image may be a JPEG in a stream of H.264
Outgoing = tuple[BaseModel, Tensors]
# What the player's messages are called that have another name on the way to the engine.
_REFUSED_AS = {
    "session_start": "open",
    "session_resume": "resume",
    "session_pause": "pause",
    "session_continue": "continue",
    "session_snapshot": "snapshot",
    "session_stop": "close",
}


def log_of(message: protocol.Actions, received_at: float) -> LoggedActions:
    """Return a message's actions as arrays.

    Raises:
        SessionError: `bad_tensor` or `too_many_actions`.
    """
    num_keys, num_turns = len(message.keyboard), len(message.mouse)
    if num_keys != num_turns:
        sentence = f"keyboard has {num_keys} rows and mouse {num_turns}, expected as many"
        raise SessionError(ErrorCode.BAD_TENSOR, sentence)
    if num_keys > protocol.MAX_ACTIONS_PER_MESSAGE:
        sentence = f"{num_keys} actions, at most {protocol.MAX_ACTIONS_PER_MESSAGE} a message"
        raise SessionError(ErrorCode.TOO_MANY_ACTIONS, sentence)
    keyboard = np.array(message.keyboard, dtype=np.float32)
    mouse = np.array(message.mouse, dtype=np.float32)
    return LoggedActions(message.action_index, keyboard, mouse, received_at)


def actions_to_engine(session_id: str, actions: LoggedActions) -> Outgoing:
    """Return actions as the contract's message and tensors."""
    message = contract.ActionsMessage(session_id=session_id, action_index=actions.action_index)
    return message, {contract.KEYBOARD: actions.keyboard, contract.MOUSE: actions.mouse}


def message_to_engine(session_id: str, message: protocol.ClientMessage) -> Outgoing:
    """Return a message without tensors as the contract's."""
    if isinstance(message, protocol.FramesReceived):
        credit = contract.FramesReceived(session_id=session_id, segment_index=message.segment_index)
        return credit, NO_TENSORS
    if isinstance(message, protocol.Pause):
        return contract.SessionPause(session_id=session_id), NO_TENSORS
    if isinstance(message, protocol.Continue):
        return contract.SessionContinue(session_id=session_id), NO_TENSORS
    if isinstance(message, protocol.Snapshot):
        return contract.SessionSnapshot(session_id=session_id), NO_TENSORS
    if isinstance(message, protocol.Close):
        stop = contract.SessionStop(session_id=session_id, finish_queue=message.finish_queue)
        return stop, NO_TENSORS
    sentence = f"{message.type} is not a message of an open session"
    raise SessionError(ErrorCode.WRONG_STATE, sentence)


def ready_message(
    event: contract.SessionReady,
    ticket: ResumeTicket,
    limits: SessionLimits,
    model_version: str,
    resume_token: str,
) -> protocol.Ready:
    """Return what a player is told of its session."""
    return protocol.Ready(
        session_id=event.session_id,
        resume_token=resume_token,
        release=event.release,
        model_version=model_version,
        world=event.world,
        prompt=event.prompt,
        seed=ticket.seed,
        height=event.height,
        width=event.width,
        frames_per_segment=event.frames_per_segment,
        frames_per_second=event.frames_per_second,
        max_unacknowledged_segments=event.max_unacknowledged_segments,
        encoding=event.encoding,
        next_action_index=event.next_action_index,
        next_segment_index=event.next_segment_index,
        is_resumed=event.is_resumed,
        is_paused=event.is_paused,
        max_idle_seconds=limits.max_idle_seconds,
        max_session_seconds=limits.max_session_seconds,
    )


class Relay:
    """Tells one player what its engine says."""

    def __init__(self, life: SessionLife, outbox: Outbox, log: ActionLog) -> None:
        """Write into an outbox; the log says when actions came."""
        self._life = life
        self._outbox = outbox
        self._log = log
        self.encoding: contract.Encoding = "jpeg"
        self._num_actions_acknowledged = 0
        self.last_frame_index = 0
        self.action_to_frame_seconds: float | None = None
        self.end_reason: contract.EndReason | None = None

    def tell_ready(self, received: Received, ready: protocol.Ready) -> None:
        """Tell the player that its session is open, with the start image if there is one."""
        self._begin(ready.encoding, ready.next_action_index)
        self._outbox.last_segment_index = ready.next_segment_index - 1
        self._outbox.push(ready)
        self._push_frames(0, received.frames, received.frame_index, received.action_index)

    def take(self, received: Received) -> None:
        """Tell the player of one event."""
        event = received.event
        if isinstance(event, contract.FramesEvent):
            self._on_frames(event, received)
        elif isinstance(event, contract.ActionsReceived):
            self._on_actions_received(event)
        elif isinstance(event, contract.Acknowledged):
            self._on_acknowledged(received.answers)
        elif isinstance(event, contract.SnapshotTaken):
            self._outbox.push(protocol.SnapshotTaken(frame_index=event.frame_index))
        elif isinstance(event, contract.ErrorEvent):
            if received.answers == "actions":
                self._log.withdraw()
            self._outbox.push(
                protocol.Error(
                    code=event.code,
                    message=event.message,
                    is_retryable=event.retryable,
                    is_fatal=False,
                    refused=_REFUSED_AS.get(received.answers, received.answers),
                )
            )
        elif isinstance(event, contract.SessionEnd):
            reason = self.end_reason or event.reason
            self._life.move(SessionState.ENDED)
            self._outbox.push(protocol.Ended(reason=reason, num_frames=event.num_frames))
            self.end_reason = reason

    def _begin(self, encoding: contract.Encoding, next_action_index: int) -> None:
        self.encoding = encoding
        self._num_actions_acknowledged = next_action_index
        self._log.begin_at(next_action_index)

    def _on_actions_received(self, event: contract.ActionsReceived) -> None:
        end = event.action_index + event.num_actions
        self._log.confirm(end)
        if end <= self._num_actions_acknowledged:
            return  # sent again by the gateway; the player was told before
        self._num_actions_acknowledged = end
        self._outbox.push(
            protocol.ActionsReceived(
                action_index=event.action_index,
                num_actions=event.num_actions,
                num_queued_actions=event.num_queued_actions,
            )
        )

    def _on_acknowledged(self, answers: str) -> None:
        if answers == "session_pause" and self._life.state is SessionState.ACTIVE:
            self._life.move(SessionState.PAUSED)
            self._outbox.push(protocol.Paused())
        elif answers == "session_continue" and self._life.state is SessionState.PAUSED:
            self._life.move(SessionState.ACTIVE)
            self._outbox.push(protocol.Continued())

    def _on_frames(self, event: contract.FramesEvent, received: Received) -> None:
        first_action = received.action_index[0]
        came_at = self._log.receipt_of(first_action)
        waited = 0.0 if came_at is None else time.monotonic() - came_at
        self.action_to_frame_seconds = None if came_at is None else waited
        self._outbox.make_room(len(received.frames))
        self._outbox.push_segment(
            protocol.Segment(
                segment_index=event.segment_index,
                first_frame_index=received.frame_index[0],
                first_action_index=first_action,
                num_frames=len(received.frames),
                num_dropped=self._outbox.num_dropped,
                waited_seconds=event.waited_seconds,
                segment_seconds=event.segment_seconds,
                action_to_frame_seconds=waited,
                durable_frame_index=event.durable_frame_index,
            )
        )
        self._push_frames(
            event.segment_index, received.frames, received.frame_index, received.action_index
        )
        self.last_frame_index = received.frame_index[-1]
        self._log.forget_until(event.durable_frame_index)

    def _push_frames(
        self,
        segment_index: int,
        frames: Sequence[bytes],
        frame_index: Sequence[int],
        action_index: Sequence[int],
    ) -> None:
        is_first = True
        for data, frame, action in zip(frames, frame_index, action_index, strict=True):
            kind = self._kind_of(data, is_first=is_first)
            self._outbox.push_frame(OutgoingFrame(kind, segment_index, frame, action, data))
            is_first = False

    def _kind_of(self, data: bytes, *, is_first: bool) -> int:
        if self.encoding == "jpeg" or data.startswith(_JPEG_START):
            return protocol.KIND_JPEG
        return protocol.KIND_H264_KEY if is_first else protocol.KIND_H264_DELTA
