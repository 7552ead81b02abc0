"""The WebSocket protocol: what is refused and how, what newer peers may add, the frame header."""

from __future__ import annotations

import json
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from services import protocol
from services.contract import ErrorCode, SessionError
from services.protocol import (
    HEADER_BYTES,
    KIND_H264_KEY,
    FrameHeader,
    Open,
    parse_client_message,
    parse_server_message,
)


def test_a_message_comes_back_as_it_was() -> None:
    message = Open(world="map01", seed=7, encoding="h264", late_frames="drop")
    assert parse_client_message(message.model_dump_json()) == message


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "message"),
        ("[]", "message"),
        ('{"type": "fly"}', "fly"),
        ('{"type": "open", "speed": 3}', "open.speed"),
        ('{"type": "open", "seed": -1}', "open.seed"),
        (
            '{"type": "actions", "action_index": 0, "keyboard": [[1]], "mouse": [[0, 0]]}',
            "keyboard",
        ),
        ('{"type": "frames_received", "segment_index": "no"}', "segment_index"),
    ],
)
def test_a_bad_message_is_refused_by_the_name_of_its_field(text: str, named: str) -> None:
    with pytest.raises(SessionError, match=named) as caught:
        parse_client_message(text)
    assert caught.value.code is ErrorCode.BAD_MESSAGE


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999", "1e38", "-12.5"])
def test_a_mouse_turns_by_a_finite_number_within_half_a_turn(value: str) -> None:
    text = (
        f'{{"type": "actions", "action_index": 0, "keyboard": [[0,0,0,0,0,0]],'
        f' "mouse": [[0, {value}]]}}'
    )
    with pytest.raises(SessionError, match=r"actions\.mouse\.0\.1"):
        parse_client_message(text)


NAMES = st.sampled_from(
    sorted(
        {
            name
            for member in get_args(get_args(protocol.ClientMessage)[0])
            for name in member.model_fields
        }
    )
)
TYPES = st.sampled_from(["open", "resume", "actions", "frames_received", "close", "ping", "fly"])
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES | st.text(max_size=5), inner),
    max_leaves=12,
)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(st.dictionaries(NAMES, ANYTHING), TYPES)
def test_whatever_stands_in_a_message_it_is_one_or_refused(
    fields: dict[str, object], kind: str
) -> None:
    expect_a_message_or_a_refusal(json.dumps({**fields, "type": kind}))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200))
def test_whatever_comes_is_a_message_or_refused(data: bytes | str) -> None:
    expect_a_message_or_a_refusal(data)


def expect_a_message_or_a_refusal(data: bytes | str) -> None:
    try:
        parse_client_message(data)
    except SessionError as error:
        code = error.code
        assert code is ErrorCode.BAD_MESSAGE


def test_a_long_value_is_cut_in_the_refusal() -> None:
    with pytest.raises(SessionError) as caught:
        parse_client_message(json.dumps({"type": "frames_received", "segment_index": "x" * 9999}))
    assert len(caught.value.message) < 400


def test_fields_of_a_newer_gateway_are_passed_over() -> None:
    event = parse_server_message('{"type": "pong", "nonce": 4, "clock": 1.5}')
    assert event.model_dump() == {"type": "pong", "nonce": 4}
    with pytest.raises(ValidationError):
        parse_server_message('{"type": "unheard"}')


@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(-1, 2**31 - 1),
    st.floats(0, 4e12),
)
def test_a_header_comes_back_as_it_was(
    segment: int, frame: int, action: int, sent_at_ms: float
) -> None:
    header = FrameHeader(KIND_H264_KEY, segment, frame, action, sent_at_ms)
    assert FrameHeader.unpack(header.pack() + b"payload") == header
    assert len(header.pack()) == HEADER_BYTES == 24


@pytest.mark.parametrize("data", [b"", b"\x01" * 23, b"\x02" * 24])
def test_a_foreign_header_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="expected a frame behind a header of 24 bytes"):
        FrameHeader.unpack(data)
