"""The life of a session: every legal step, every illegal one refused, no dead end but the end."""

from __future__ import annotations

import itertools
from typing import get_args

import pytest

from services import protocol
from services.session_state import (
    LEGAL_MESSAGES,
    TRANSITIONS,
    IllegalTransitionError,
    SessionLife,
    SessionState,
)

PAIRS = list(itertools.product(SessionState, SessionState))


@pytest.mark.parametrize(("start", "target"), PAIRS)
def test_a_step_is_taken_only_where_the_table_has_it(
    start: SessionState, target: SessionState
) -> None:
    life = SessionLife(start)
    if target in TRANSITIONS[start]:
        life.move(target)
        assert life.state is target
    else:
        with pytest.raises(IllegalTransitionError, match=f"from {start} to {target}, expected"):
            life.move(target)
        assert life.state is start


def test_every_state_can_be_reached_and_left_for_the_end() -> None:
    reached = {SessionState.NEW}
    while True:
        more = reached | {after for state in reached for after in TRANSITIONS[state]}
        if more == reached:
            break
        reached = more
    assert reached == set(SessionState)
    for state in SessionState:
        assert state is SessionState.ENDED or SessionState.ENDED in TRANSITIONS[state]


def test_messages_of_the_table_are_those_of_the_protocol() -> None:
    union = get_args(get_args(protocol.ClientMessage)[0])
    names = {member.model_fields["type"].default for member in union}
    assert set().union(*LEGAL_MESSAGES.values()) == names
    assert set(LEGAL_MESSAGES) == set(SessionState)


def test_actions_are_for_active_sessions_alone() -> None:
    allowed = [state for state in SessionState if SessionLife(state).allows("actions")]
    assert allowed == [SessionState.ACTIVE]
    assert SessionLife(SessionState.ENDED).is_over
