"""A bot that walks: forward as long as the picture changes, and around where it does not.

    python walking_bot.py http://127.0.0.1:8080 --frames 480

It decides once a segment, from the frames of the one before. It needs the extra `images`.
"""

from __future__ import annotations

import argparse
import asyncio

import numpy as np
from numpy.typing import NDArray
from worldloom_client import Session, SessionOptions, connect
from worldloom_client.images import decode_jpeg

FORWARD = np.array([1, 0, 0, 0, 0, 0], np.float32)
STRAIGHT, TURN = np.array([0, 0], np.float32), np.array([0, 6], np.float32)
# Mean change of a pixel, in levels, below which walking has led nowhere.
STUCK_BELOW = 1.5


def choose_turn(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the mouse for the next segment: straight on, or a turn where nothing moved."""
    change = np.abs(after.astype(np.int16) - before).mean()
    return TURN if change < STUCK_BELOW else STRAIGHT


async def walk(session: Session, num_frames: int) -> int:
    """Walk for so many frames; return how often the bot turned."""
    length = session.ready.frames_per_segment
    num_turns, told = 0, 0

    async def act(mouse: NDArray[np.float32]) -> None:
        nonlocal told
        told += length
        await session.act(np.tile(FORWARD, (length, 1)), np.tile(mouse, (length, 1)))
        if told >= num_frames:
            await session.finish()

    await act(STRAIGHT)
    before = None
    async for frame in session.frames():
        if frame.frame_index % length:
            continue
        after = decode_jpeg(frame.data)
        if before is not None and told < num_frames:
            mouse = choose_turn(before, after)
            num_turns += mouse is TURN
            await act(mouse)
        before = after
    return num_turns


async def main() -> None:
    """Open a session, walk, and say how it went."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url", help="address of the gateway")
    parser.add_argument("--api-key", help="key of the gateway, where it asks for one")
    parser.add_argument("--world", help="world to walk in, by default the first")
    parser.add_argument("--frames", type=int, default=480, help="frames to walk")
    parser.add_argument("--seed", type=int, default=0, help="seed of the session")
    asked = parser.parse_args()
    options = SessionOptions(world=asked.world, seed=asked.seed)
    async with connect(asked.url, api_key=asked.api_key, options=options) as session:
        num_turns = await walk(session, asked.frames)
        print(f"{asked.frames} frames, {num_turns} turns, {session.num_reconnects} reconnects")


if __name__ == "__main__":
    asyncio.run(main())
