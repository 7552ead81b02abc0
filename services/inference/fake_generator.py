"""A FAKE release for tests of transport and scheduling: colours instead of a world.

Nothing outside the tests opens it: no command, setting or model repository of the project names
it. Its frames are one flat colour each, which says which frame it is and what was pressed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from services.contract import KEYBOARD, MOUSE, NUM_KEYS, NUM_MOUSE_AXES
from services.inference.generator import Frames
from services.inference.world_state import StateArrays, WorldState
from worldloom.actions import Actions

COUNTS = "counts"


@dataclass(frozen=True)
class FakeWorld:
    """A place without content."""

    name: str
    prompt: str
    image: Frames
    pitch_radians: float = 0.0


@dataclass
class FakeSession:
    """Makes frames whose red counts frames, whose green tells the keys, whose blue is the seed.

    Its state is what a real session's is: actions, and a number a segment that the next frames
    follow from.
    """

    height: int
    width: int
    seed: int
    seconds_per_segment: float
    frame_index: int = 0
    is_closed: bool = False
    keyboard: list[NDArray[np.float32]] = field(default_factory=lambda: [_still(NUM_KEYS)])
    mouse: list[NDArray[np.float32]] = field(default_factory=lambda: [_still(NUM_MOUSE_AXES)])
    counts: list[int] = field(default_factory=lambda: [0])

    def generate_segment(self, actions: Actions) -> Frames:
        """Return one flat frame an action, after the time a model would take."""
        time.sleep(self.seconds_per_segment)
        frames = np.zeros((len(actions), self.height, self.width, 3), np.uint8)
        for frame, keys in zip(frames, actions.keyboard, strict=True):
            self.frame_index += 1
            frame[...] = fake_colour(self.frame_index, float(keys[0]), self.seed)
        self.keyboard.append(actions.keyboard)
        self.mouse.append(actions.mouse)
        self.counts.append(self.frame_index)
        return frames

    def snapshot(self, start: int = 0) -> WorldState:
        """Return the state from a unit on."""
        arrays: StateArrays = {
            KEYBOARD: _joined(self.keyboard[start:], NUM_KEYS),
            MOUSE: _joined(self.mouse[start:], NUM_MOUSE_AXES),
            COUNTS: np.array(self.counts[start:], np.int64),
        }
        return WorldState(start, len(self.counts), arrays)

    def close(self) -> None:
        """Say that nobody goes on with the session."""
        self.is_closed = True


@dataclass(frozen=True)
class FakeRelease:
    """Stands for a release where only its shapes and its speed matter."""

    height: int = 64
    width: int = 64
    frames_per_segment: int = 12
    seconds_per_segment: float = 0.0

    @property
    def worlds(self) -> tuple[FakeWorld, ...]:
        """Two places."""
        image = np.full((self.height, self.width, 3), 128, np.uint8)
        return FakeWorld("grey", "a grey room", image), FakeWorld("other", "another", image)

    def open_session(
        self,
        *,
        image: Frames,
        prompt: str,  # noqa: ARG002
        seed: int,
        memory: bool = True,  # noqa: ARG002
        pitch_radians: float = 0.0,  # noqa: ARG002
    ) -> FakeSession:
        """Start a session; the image gives no more than its size."""
        return FakeSession(image.shape[0], image.shape[1], seed, self.seconds_per_segment)

    def resume_session(
        self,
        state: WorldState,
        *,
        prompt: str,  # noqa: ARG002
        seed: int,
        memory: bool = True,  # noqa: ARG002
    ) -> FakeSession:
        """Go on from a state."""
        session = FakeSession(self.height, self.width, seed, self.seconds_per_segment)
        units = [state.part(unit, unit + 1).arrays for unit in range(state.stop)]
        session.keyboard = [unit[KEYBOARD].astype(np.float32) for unit in units]
        session.mouse = [unit[MOUSE].astype(np.float32) for unit in units]
        session.counts = [int(unit[COUNTS][0]) for unit in units]
        session.frame_index = session.counts[-1]
        return session


def fake_colour(frame_index: int, forward: float, seed: int) -> tuple[int, int, int]:
    """Return the colour of a fake frame, far enough from its neighbours' to survive JPEG."""
    return 8 * (frame_index % 30) + 8, int(200 * forward) + 20, 8 * (seed % 30) + 8


def _still(width: int) -> NDArray[np.float32]:
    return np.zeros((1, width), np.float32)


def _joined(rows: list[NDArray[np.float32]], width: int) -> NDArray[np.float32]:
    return np.concatenate([np.zeros((0, width), np.float32), *rows])
