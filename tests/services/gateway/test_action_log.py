"""What was sent and is not yet safe."""

from __future__ import annotations

import numpy as np
import pytest

from services.contract import ErrorCode, SessionError
from services.gateway.action_log import ActionLog, LoggedActions


def message(first: int, length: int, received_at: float = 0.0) -> LoggedActions:
    rows = np.arange(first, first + length, dtype=np.float32)[:, None]
    return LoggedActions(first, rows.repeat(6, 1), rows.repeat(2, 1), received_at)


def kept(log: ActionLog, since: int) -> list[int]:
    return [int(row[0]) for entry in log.since(since) for row in entry.keyboard]


def test_what_an_engine_asks_for_is_there_from_the_very_action_on() -> None:
    log = ActionLog(100)
    log.append(message(0, 5))
    log.append(message(5, 5))
    assert kept(log, 3) == list(range(3, 10))
    assert [entry.action_index for entry in log.since(7)] == [7]
    assert kept(log, 10) == []


def test_what_is_durable_is_let_go_in_whole_messages() -> None:
    log = ActionLog(100)
    log.append(message(0, 5))
    log.append(message(5, 5))
    log.forget_until(7)
    assert len(log) == 5
    assert kept(log, 5) == list(range(5, 10))


def test_what_is_no_longer_kept_is_said_to_be_lost() -> None:
    log = ActionLog(8)
    for first in range(0, 20, 5):
        log.append(message(first, 5))
    assert len(log) <= 8
    with pytest.raises(SessionError, match="from 3 on") as caught:
        list(log.since(3))
    assert caught.value.code is ErrorCode.STATE_LOST


def test_a_resumed_log_knows_nothing_of_what_was_before() -> None:
    log = ActionLog(100)
    log.begin_at(12)
    with pytest.raises(SessionError, match="from 12 on"):
        list(log.since(8))
    log.append(message(12, 4))
    assert kept(log, 12) == list(range(12, 16))


def test_refused_messages_are_forgotten_oldest_first() -> None:
    log = ActionLog(100)
    log.append(message(0, 4))
    log.confirm(4)
    log.append(message(4, 4))
    log.append(message(8, 4))
    log.withdraw()
    log.withdraw()
    log.append(message(4, 2))
    assert kept(log, 0) == list(range(6))


def test_the_receipt_of_an_action_is_that_of_its_message() -> None:
    log = ActionLog(100)
    log.append(message(0, 4, received_at=1.0))
    log.append(message(4, 4, received_at=2.0))
    assert (log.receipt_of(3), log.receipt_of(4), log.receipt_of(8)) == (1.0, 2.0, None)
