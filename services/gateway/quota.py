"""What each key has used of what it may: sessions now, sessions this hour, messages a second.

It counts in this process; replicas count each for itself. It does not know sockets.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from services.contract import ErrorCode, SessionError
from services.gateway.settings import KeyConfig

_HOUR_SECONDS = 3600.0


class TokenBucket:
    """So many messages a second, and as many at once."""

    def __init__(self, per_second: float, clock: Callable[[], float]) -> None:
        """Begin full."""
        self._per_second = per_second
        self._clock = clock
        self._tokens = per_second
        self._filled_at = clock()

    def take(self) -> bool:
        """Take one; False when there is none."""
        now = self._clock()
        gained = (now - self._filled_at) * self._per_second
        self._tokens = min(max(self._per_second, 1.0), self._tokens + gained)
        self._filled_at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


@dataclass
class _Use:
    bucket: TokenBucket
    num_sessions: int = 0
    opened_at: deque[float] = field(default_factory=deque)


class Quota:
    """The use of all keys."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Measure hours and seconds by a monotonic clock."""
        self._clock = clock
        self._uses: dict[str, _Use] = {}

    def num_sessions(self, key_id: str) -> int:
        """Return how many sessions a key has now."""
        use = self._uses.get(key_id)
        return 0 if use is None else use.num_sessions

    def enter(self, key: KeyConfig, *, is_new: bool) -> None:
        """Count one session more; one that is resumed was counted in its hour before.

        Raises:
            SessionError: `quota_exceeded`.
        """
        use = self._use(key)
        if use.num_sessions >= key.max_sessions:
            sentence = f"key {key.key_id} has {use.num_sessions} sessions, which is its limit"
            raise SessionError(ErrorCode.QUOTA_EXCEEDED, sentence)
        now = self._clock()
        while use.opened_at and now - use.opened_at[0] >= _HOUR_SECONDS:
            use.opened_at.popleft()
        if is_new:
            if len(use.opened_at) >= key.max_sessions_per_hour:
                sentence = (
                    f"key {key.key_id} opened {len(use.opened_at)} sessions within an hour,"
                    " which is its limit"
                )
                raise SessionError(ErrorCode.QUOTA_EXCEEDED, sentence)
            use.opened_at.append(now)
        use.num_sessions += 1

    def leave(self, key: KeyConfig) -> None:
        """Count one session less."""
        self._use(key).num_sessions -= 1

    def take_message(self, key: KeyConfig) -> None:
        """Count one message; raises `SessionError` `rate_limited`."""
        if not self._use(key).bucket.take():
            sentence = (
                f"key {key.key_id} may send {key.max_messages_per_second:g} messages a second;"
                " this one was not taken in"
            )
            raise SessionError(ErrorCode.RATE_LIMITED, sentence)

    def _use(self, key: KeyConfig) -> _Use:
        use = self._uses.get(key.key_id)
        if use is None:
            use = _Use(TokenBucket(key.max_messages_per_second, self._clock))
            self._uses[key.key_id] = use
        return use
