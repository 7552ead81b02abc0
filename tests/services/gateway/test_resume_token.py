"""Resume tokens."""

from __future__ import annotations

import pytest

from services.contract import ErrorCode, SessionError
from services.gateway.resume_token import ResumeTicket, ResumeTokens

SECRET = "a secret of tests, long enough to sign with"
TICKET = ResumeTicket(
    session_id="s",
    key_id="shop",
    release="sha256:1",
    backend="engine:1",
    opened_at=1000.0,
    seed=2**52,
    late_frames="drop",
)


def code_of(call, *args) -> ErrorCode:
    with pytest.raises(SessionError) as caught:
        call(*args)
    return caught.value.code


def test_a_token_says_what_its_session_was_and_works_once() -> None:
    tokens = ResumeTokens(SECRET, 60.0, lambda: 1001.0)
    token = tokens.issue(TICKET)
    assert tokens.redeem(token)[0] == TICKET
    assert code_of(tokens.redeem, token) is ErrorCode.REPLAYED_TOKEN


def test_another_gateway_with_the_same_secret_knows_it_and_one_without_does_not() -> None:
    token = ResumeTokens(SECRET, 60.0, lambda: 1001.0).issue(TICKET)
    assert ResumeTokens(SECRET, 60.0, lambda: 1002.0).redeem(token)[0] == TICKET
    stranger = ResumeTokens(SECRET[::-1], 60.0, lambda: 1002.0)
    assert code_of(stranger.redeem, token) is ErrorCode.BAD_TOKEN


def test_a_token_lives_as_long_as_its_session_may() -> None:
    now = 1001.0
    tokens = ResumeTokens(SECRET, 60.0, lambda: now)
    token = tokens.issue(TICKET)
    now = 1061.0
    assert code_of(tokens.redeem, token) is ErrorCode.EXPIRED_TOKEN


def test_a_token_that_brought_nothing_can_be_used_again() -> None:
    tokens = ResumeTokens(SECRET, 60.0, lambda: 1001.0)
    token = tokens.issue(TICKET)
    _, token_id = tokens.redeem(token)
    tokens.give_back(token_id)
    assert tokens.redeem(token)[0] == TICKET


@pytest.mark.parametrize("token", ["", "x", "a.b.c"])
def test_anything_else_is_no_token(token) -> None:
    tokens = ResumeTokens(SECRET, 60.0, lambda: 1001.0)
    assert code_of(tokens.redeem, token) is ErrorCode.BAD_TOKEN
