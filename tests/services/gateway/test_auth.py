"""Keys and tokens."""

from __future__ import annotations

import hashlib

import jwt
import pytest

from services.contract import ErrorCode, SessionError
from services.gateway.auth import Authority, bearer_token
from services.gateway.settings import GatewayConfig, KeyConfig

SECRET = "a secret of tests, long enough to sign with"
KEY = KeyConfig(
    key_id="shop", sha256=hashlib.sha256(b"open sesame").hexdigest(), releases=("7", "8")
)
CONFIG = GatewayConfig(keys=(KEY,), token_seconds=60)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def authority(clock) -> Authority:
    return Authority(CONFIG, SECRET, clock)


def refused(call, *args) -> ErrorCode:
    with pytest.raises(SessionError) as caught:
        call(*args)
    assert "open sesame" not in caught.value.message
    return caught.value.code


def test_a_key_is_known_by_its_digest(authority) -> None:
    assert authority.key_of("open sesame") == KEY
    assert refused(authority.key_of, "open barley") is ErrorCode.BAD_KEY
    assert refused(authority.key_of, None) is ErrorCode.BAD_KEY
    assert refused(authority.key_of, KEY.sha256) is ErrorCode.BAD_KEY


def test_a_token_opens_one_session(authority) -> None:
    token, expires_at = authority.issue(KEY)
    assert expires_at == 1060.0
    caller = authority.admit(token)
    assert (caller.key, caller.releases) == (KEY, ("7", "8"))
    assert refused(authority.admit, token) is ErrorCode.REPLAYED_TOKEN


def test_a_token_expires(authority, clock) -> None:
    token, _ = authority.issue(KEY)
    clock.now += 61
    assert refused(authority.admit, token) is ErrorCode.EXPIRED_TOKEN


def test_a_token_allows_no_more_than_its_key(authority) -> None:
    token, _ = authority.issue(KEY, ("8",))
    assert authority.admit(token).releases == ("8",)
    assert refused(authority.issue, KEY, ("9",)) is ErrorCode.UNKNOWN_RELEASE


def test_forged_foreign_and_missing_tokens_are_bad(authority, clock) -> None:
    token, _ = authority.issue(KEY)
    claims = jwt.decode(token, options={"verify_signature": False})
    forged = [
        None,
        "",
        "x.y.z",
        token[:-2],
        jwt.encode(claims, "another secret, as long as the first one"),
        jwt.encode(claims, None, "none"),
        jwt.encode(claims | {"aud": "worldloom-resume"}, SECRET),
        jwt.encode(claims | {"iss": "elsewhere"}, SECRET),
        jwt.encode(claims | {"key": "unknown"}, SECRET),
        jwt.encode({"aud": claims["aud"], "iss": claims["iss"]}, SECRET),
    ]
    for each in forged:
        assert refused(authority.admit, each) is ErrorCode.BAD_TOKEN, each


def test_used_tokens_are_remembered_until_they_expire(authority, clock) -> None:
    for _ in range(50):
        authority.admit(authority.issue(KEY)[0])
        clock.now += 10
    assert len(authority._used) < 10


def test_an_open_gateway_asks_for_nothing_but_checks_what_it_is_shown(clock) -> None:
    authority = Authority(GatewayConfig(auth="none"), SECRET, clock)
    assert authority.admit(None).key.key_id == "anonymous"
    assert authority.key_of(None).is_admin
    assert refused(authority.admit, "forged") is ErrorCode.BAD_TOKEN


@pytest.mark.parametrize(
    ("header", "token"),
    [("Bearer abc", "abc"), ("bearer  abc ", "abc"), ("Basic abc", None), (None, None)],
)
def test_the_token_is_taken_from_the_header(header, token) -> None:
    assert bearer_token(header) == token
