from __future__ import annotations

import numpy as np
import pytest

from services.client.action_log import MAX_ACTIONS_AHEAD, ActionLog
from services.contract import ErrorCode, SessionError

SCALE = 256  # an action's number, as a mouse's turn


def filled(num_actions: int) -> ActionLog:
    log = ActionLog()
    mouse = np.zeros((num_actions, 2))
    mouse[:, 1] = np.arange(num_actions) / SCALE
    assert log.append(np.zeros((num_actions, 6)), mouse) == 0
    return log


def sent(log: ActionLog, last_frame_index: int = 0, max_actions: int = 10) -> list[int]:
    told: list[int] = []
    while (message := log.next_message(last_frame_index, max_actions)) is not None:
        assert message.action_index == message.mouse[0][1] * SCALE
        assert len(message.keyboard) == len(message.mouse) <= max_actions
        told += [int(row[1] * SCALE) for row in message.mouse]
    return told


def test_every_action_is_sent_once_and_in_order() -> None:
    log = filled(25)
    assert sent(log) == list(range(25))
    assert sent(log) == []


def test_no_more_is_sent_than_may_wait_for_its_frames() -> None:
    log = filled(2 * MAX_ACTIONS_AHEAD)
    assert len(sent(log)) == MAX_ACTIONS_AHEAD
    assert sent(log, last_frame_index=7) == list(range(MAX_ACTIONS_AHEAD, MAX_ACTIONS_AHEAD + 7))


def test_actions_are_told_again_from_where_the_server_asks() -> None:
    log = filled(20)
    sent(log)
    log.rewind(13)
    assert sent(log) == list(range(13, 20))


def test_what_outlives_the_server_is_forgotten_and_cannot_be_asked_for() -> None:
    log = filled(20)
    sent(log)
    log.forget(12)
    log.forget(5)
    assert log.num_kept == 8
    assert log.append(np.zeros(6), np.zeros(2)) == 20
    log.rewind(12)
    assert sent(log)[:3] == [12, 13, 14]
    for action_index in (11, 22):
        with pytest.raises(SessionError, match="only those from 12 to 21") as caught:
            log.rewind(action_index)
        assert caught.value.code is ErrorCode.STATE_LOST


def test_what_was_not_sent_is_never_forgotten() -> None:
    log = filled(20)
    log.next_message(0, 5)
    log.forget(18)
    assert sent(log) == list(range(5, 20))
