"""The wire contract: messages survive the trip, wrong ones are refused by name."""

from __future__ import annotations

import pytest

from services import contract
from services.contract import ErrorCode, SessionError
from worldloom import actions


@pytest.mark.parametrize(
    "message",
    [
        contract.SessionStart(session_id="a", world="w", prompt="p", seed=3, enable_memory=False),
        contract.ActionsMessage(session_id="a", action_index=12),
        contract.FramesReceived(session_id="a", segment_index=1),
        contract.SessionStop(session_id="a", finish_queue=True),
        contract.Describe(),
    ],
)
def test_message_survives_the_trip(message: contract.Message) -> None:
    assert contract.parse_message(contract.to_json(message)) == message


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (b"not json", "Invalid JSON"),
        (b'{"type": "dance"}', "dance"),
        (b'{"type": "session_start"}', "session_id"),
        (b'{"type": "session_start", "session_id": "a", "sed": 1}', "sed"),
        (b'{"type": "actions", "session_id": "a", "action_index": -1}', "action_index"),
        (b'{"type": "session_start", "session_id": "", "seed": 1}', "session_id"),
    ],
)
def test_wrong_message_is_refused_by_name(text: bytes, named: str) -> None:
    with pytest.raises(SessionError, match=named) as caught:
        contract.parse_message(text)
    assert caught.value.code is ErrorCode.BAD_MESSAGE
    assert not caught.value.is_retryable


def test_event_of_a_newer_server_is_understood() -> None:
    text = b'{"type": "acknowledged", "session_id": "a", "added_later": 1}'
    assert contract.parse_event(text) == contract.Acknowledged(session_id="a")


def test_error_event_says_whether_to_try_again() -> None:
    error = SessionError(ErrorCode.NO_FREE_SLOT, "all 4 slots are in use")
    event = contract.ErrorEvent.of(error, "a")
    assert contract.parse_event(contract.to_json(event)) == event
    assert event.retryable


def test_shape_error_names_tensor_shape_and_expectation() -> None:
    with pytest.raises(SessionError, match=r"keyboard has shape \[12, 5\], expected \[any, 6\]"):
        contract.require_shape("keyboard", (12, 5), {1: 6}, rank=2)
    with pytest.raises(SessionError, match=r"shape \[0, 6\]"):
        contract.require_shape("keyboard", (0, 6), {1: 6}, rank=2)
    contract.require_shape("keyboard", (12, 6), {1: 6}, rank=2)


def test_a_turn_is_bounded_as_the_library_bounds_it() -> None:
    assert contract.MAX_MOUSE_UNITS == actions.MAX_MOUSE_UNITS
    assert contract.NUM_KEYS == actions.NUM_KEYS
    assert contract.NUM_MOUSE_AXES == actions.NUM_MOUSE_AXES
