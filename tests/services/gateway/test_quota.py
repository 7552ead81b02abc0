"""Quotas of keys."""

from __future__ import annotations

import pytest

from services.contract import ErrorCode, SessionError
from services.gateway.quota import Quota
from services.gateway.settings import KeyConfig

KEY = KeyConfig(
    key_id="shop",
    sha256="0" * 64,
    max_sessions=2,
    max_sessions_per_hour=3,
    max_messages_per_second=5.0,
)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def refused(call, *args, **options) -> ErrorCode:
    with pytest.raises(SessionError) as caught:
        call(*args, **options)
    assert caught.value.is_retryable
    return caught.value.code


def test_sessions_at_once_are_limited() -> None:
    quota = Quota(Clock())
    quota.enter(KEY, is_new=True)
    quota.enter(KEY, is_new=True)
    assert refused(quota.enter, KEY, is_new=True) is ErrorCode.QUOTA_EXCEEDED
    quota.leave(KEY)
    quota.enter(KEY, is_new=True)


def test_sessions_of_an_hour_are_limited_but_not_resumes() -> None:
    clock = Clock()
    quota = Quota(clock)
    for _ in range(3):
        quota.enter(KEY, is_new=True)
        quota.leave(KEY)
    assert refused(quota.enter, KEY, is_new=True) is ErrorCode.QUOTA_EXCEEDED
    quota.enter(KEY, is_new=False)
    quota.leave(KEY)
    clock.now = 3600.0
    quota.enter(KEY, is_new=True)


def test_a_refused_session_is_not_counted() -> None:
    quota = Quota(Clock())
    quota.enter(KEY, is_new=True)
    quota.enter(KEY, is_new=True)
    for _ in range(5):
        refused(quota.enter, KEY, is_new=True)
    assert quota.num_sessions("shop") == 2


def test_messages_flow_at_the_keys_rate() -> None:
    clock = Clock()
    quota = Quota(clock)
    for _ in range(5):
        quota.take_message(KEY)
    assert refused(quota.take_message, KEY) is ErrorCode.RATE_LIMITED
    clock.now = 0.4  # two more
    quota.take_message(KEY)
    quota.take_message(KEY)
    assert refused(quota.take_message, KEY) is ErrorCode.RATE_LIMITED
    clock.now = 100.0  # no more than a second's worth is saved up
    for _ in range(5):
        quota.take_message(KEY)
    assert refused(quota.take_message, KEY) is ErrorCode.RATE_LIMITED


def test_keys_do_not_use_up_each_others() -> None:
    quota = Quota(Clock())
    other = KEY.model_copy(update={"key_id": "other"})
    for _ in range(5):
        quota.take_message(KEY)
    quota.take_message(other)
