"""A walk that can be compared: a seed's actions, and every frame's digest as it comes.

Two walks of one seed on one release are the same frames, whatever happened on the way; a frame
that is lost, repeated, out of order or different shows in the digests. It does not know what is
broken meanwhile.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from services.client import SessionError, SessionOptions, Timeouts, connect
from services.contract import NUM_KEYS, NUM_MOUSE_AXES

PATIENT = Timeouts(
    open_seconds=300.0, reply_seconds=120.0, frame_seconds=180.0, reconnect_seconds=180.0
)


@dataclass
class Walked:
    """What one walk saw.

    Attributes:
        seed: of its noise and its actions.
        failure: why it ended early; empty when it did not.
        release: digest of the release that it began on.
        versions: model versions that it was told of, in order, each once.
        digests: of each frame, the start image first.
        indices: of the same frames.
        arrivals: when each was read, on this machine's monotonic clock.
        num_reconnects: how often its connection was resumed.
    """

    seed: int
    failure: str = ""
    release: str = ""
    versions: list[str] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    indices: list[int] = field(default_factory=list)
    arrivals: list[float] = field(default_factory=list)
    num_reconnects: int = 0

    @property
    def is_gapless(self) -> bool:
        """Tell whether every frame came once and in order."""
        return self.indices == list(range(len(self.indices)))

    def is_as(self, other: Walked) -> bool:
        """Tell whether the frames are those of another walk, bit for bit."""
        return not self.failure and self.is_gapless and self.digests == other.digests

    def first_after(self, moment: float) -> float | None:
        """Return when the first frame came after a moment; None when none did."""
        return next((at for at in self.arrivals if at > moment), None)


def actions_of(seed: int, num_frames: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return a seed's actions: keys [F, 6] and mouse [F, 2], each held for half a second."""
    generator = random.Random(seed)
    keyboard = np.zeros((num_frames, NUM_KEYS), np.float32)
    mouse = np.zeros((num_frames, NUM_MOUSE_AXES), np.float32)
    for start in range(0, num_frames, 8):
        keyboard[start : start + 8, generator.randrange(4)] = 1
        mouse[start : start + 8, 1] = generator.uniform(-2.0, 2.0)
    return keyboard, mouse


async def walk(
    url: str, seed: int, num_frames: int, *, release: str | None = None, into: Walked | None = None
) -> Walked:
    """Walk so many frames as fast as they come; a session that fails is a result and no error.

    Args:
        url: address of the gateway.
        seed: of noise and actions.
        num_frames: frames to walk, the start image not counted.
        release: digest of the release to walk on; the gateway's choice when absent.
        into: filled in as frames come, for who looks at it meanwhile.
    """
    walked = Walked(seed) if into is None else into
    options = SessionOptions(seed=seed, release=release)
    try:
        async with connect(url, options=options, timeouts=PATIENT) as session:
            walked.release = session.ready.release
            await session.act(*actions_of(seed, num_frames))
            await session.finish()
            async for frame in session.frames():
                walked.digests.append(hashlib.sha256(frame.data).hexdigest())
                walked.indices.append(frame.frame_index)
                walked.arrivals.append(frame.received_at)
                walked.num_reconnects = session.num_reconnects
                if session.ready.model_version not in walked.versions[-1:]:
                    walked.versions.append(session.ready.model_version)
    except SessionError as error:
        walked.failure = f"{error.code}: {error.message}"
    if not walked.failure and len(walked.indices) != num_frames + 1:
        walked.failure = f"{len(walked.indices)} frames, expected {num_frames + 1}"
    return walked


def recovery_seconds(walks: Sequence[Walked], mended_at: float) -> list[float]:
    """Return the time from a mending to the next frame of each walk that was not over by then."""
    firsts = [walked.first_after(mended_at) for walked in walks]
    return [first - mended_at for first in firsts if first is not None]
