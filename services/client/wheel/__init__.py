"""Sessions in worlds that a Worldloom gateway serves: act, and take the frames that follow.

    async with connect("http://127.0.0.1:8080", options=SessionOptions(seed=7)) as session:
        await session.act(keyboard, mouse)   # [F, 6] and [F, 2], or one action
        await session.finish()
        async for frame in session.frames():
            ...

`connect_sync` is the same without asyncio. `worldloom_client.grpc` goes straight to Triton (extra
`grpc`), `worldloom_client.images` decodes JPEG frames (extra `images`).
"""

from worldloom_client.client import (
    ErrorCode,
    Frame,
    PlayResult,
    Receipt,
    Session,
    SessionError,
    SessionOptions,
    SessionState,
    SyncReceipt,
    SyncSession,
    Timeouts,
    connect,
    connect_sync,
    play_actions,
    play_actions_sync,
)

__all__ = [
    "ErrorCode",
    "Frame",
    "PlayResult",
    "Receipt",
    "Session",
    "SessionError",
    "SessionOptions",
    "SessionState",
    "SyncReceipt",
    "SyncSession",
    "Timeouts",
    "connect",
    "connect_sync",
    "play_actions",
    "play_actions_sync",
]
