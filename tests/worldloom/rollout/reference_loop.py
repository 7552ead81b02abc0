"""Matrix-Game 3.0's loop around its network, transcribed in float64 numpy; not a test.

Written from the published description and the facts of the public pipeline, without any of the
project's code, so that it cannot share a mistake with it. It says what the network is given at
every step of every segment; what the network answers is asked of the caller.

Conventions are the published ones: row f of the actions moves the camera from frame f to f + 1,
world axes are x forward, y right, z up in centimetres (the camera's are x right, y down, z
forward), positive yaw turns right and positive pitch looks down, and latents have absolute numbers.

Letters: C channels, T latents of a window, M memory latents, H W latent rows and columns, F frames,
P tokens of a latent, R ray features of a token.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FIRST_CLIP, CLIP, STRIDE, PAST_LATENTS, NEW_LATENTS = 57, 56, 40, 4, 10
FRAMES_PER_LATENT, WINDOW_FRAMES, PATCH = 4, 12, 2
QUERY_STEPS_BACK = (1, 9, 17, 25, 33)
SINK_FRAME = 4
NO_KEY, NO_MOUSE = -1.0, 1.0
NUM_KEYS = 6

STEP_CENTIMETRES, DIAGONAL_CENTIMETRES = 12.35, 8.73
DEGREES_PER_UNIT, DEAD_ZONE = 15.0, 0.02
NEAR, FAR, POINTS_A_SIDE = 0.1, 30.0, 10
TEST_WIDTH, TEST_HEIGHT = 1280, 720

# A length below this is what rounding left of zero. The published code divides by it all the same,
# so that a camera that stands for a whole window is told noise.
ROUNDING_METRES = 1e-9
SHIFT, SOLVER_ORDER = 5.0, 2

CAMERA_TO_BODY = np.array([[0.0, 0, 1], [1, 0, 0], [0, -1, 0]])


@dataclass(frozen=True)
class Call:
    """What the network is given once: memory first, then the window."""

    segment_index: int
    step_index: int
    is_conditional: bool
    num_memory: int
    num_given: int  # of the window's latents, those that were there before
    latents: Array  # [C, M + T, H, W]
    timesteps: Array  # [M + T]
    latent_numbers: list[int]  # absolute, as rotary embedding counts
    actions: Array  # [M + T, 12, 8], keys then axes
    rays: Array  # [M + T, P, R]


@dataclass(frozen=True)
class Settings:
    """What a run of the pipeline is told."""

    frame_size: tuple[int, int]
    latent_size: tuple[int, int]
    num_steps: int
    guidance_scale: float | None = None  # None is the student, which has one branch

    @property
    def branches(self) -> tuple[bool, ...]:
        """Whether each forward of a step is the conditional one."""
        return (True,) if self.guidance_scale is None else (True, False)


Network = Callable[[Call], Array]
"""What is given to the velocity [C, T, H, W] of the window, its outputs for memory left out."""


def generate(
    rows: Array,
    image_latent: Array,
    noise: list[Array],
    network: Network,
    settings: Settings,
) -> Array:
    """Return the latents [C, L, H, W] of as many segments as there is noise for.

    Args:
        rows: actions [F - 1, 8] of the walk, keys then axes; row f moves from frame f to f + 1.
            What follows the last frame of a segment is not known while it is made: its last row
            is held.
        image_latent: of the start image, [C, 1, H, W].
        noise: of each segment's window, [C, T, H, W].
        network: asked once a branch and step.
        settings: sizes and sampler.
    """
    poses = walk_poses(rows)
    pool, given = image_latent[:, :0], image_latent
    for index, fresh in enumerate(noise):
        end = FIRST_CLIP + STRIDE * index
        start = 0 if index == 0 else end - CLIP
        held = np.concatenate([rows[: end - 1], rows[end - 2 : end - 1]])
        window = _Window(index, start, end, poses, held[start:end], pool, settings)
        latents = _denoise(window, given, fresh, network)
        given = latents[:, -PAST_LATENTS:]
        pool = np.concatenate([pool, latents if index == 0 else latents[:, -NEW_LATENTS:]], axis=1)
    return pool


def latent_of(frame: int) -> int:
    """Return the latent of a frame."""
    return (frame - 1) // FRAMES_PER_LATENT + 1


class _Window:
    """The conditions of one segment."""

    def __init__(
        self,
        index: int,
        start: int,
        end: int,
        poses: Array,
        rows: Array,
        pool: Array,
        settings: Settings,
    ) -> None:
        self.index, self.settings = index, settings
        self.slots = chosen_frames(poses, start, end) if index else []
        self.numbers = list(range(latent_of(start), latent_of(end)))
        self.memory_numbers = [latent_of(frame) for frame, _ in self.slots]
        self.memory = pool[:, self.memory_numbers]
        last_frames = [FRAMES_PER_LATENT * number for number in self.numbers]
        self.rays = _rays(_framewise(poses[last_frames]), settings)
        seen = [
            _pair(poses[asking], poses[FRAMES_PER_LATENT * latent_of(frame)])
            for frame, asking in self.slots
        ]
        self.memory_rays = _rays(np.array(seen).reshape(-1, 4, 4), settings)
        self.actions = action_windows(rows)

    def call(self, step: int, latents: Array, num_given: int, timestep: int, cond: bool) -> Call:
        """Return what one branch is given at one step."""
        num_memory = len(self.slots) if cond else 0
        told = np.full(latents.shape[1], float(timestep))
        told[:num_given] = 0
        count = num_memory + latents.shape[1]
        sentinel = np.full((count, WINDOW_FRAMES, self.actions.shape[2]), NO_KEY)
        sentinel[..., NUM_KEYS:] = NO_MOUSE
        actions = np.concatenate([sentinel[:num_memory], self.actions]) if cond else sentinel
        return Call(
            segment_index=self.index,
            step_index=step,
            is_conditional=cond,
            num_memory=num_memory,
            num_given=num_given,
            latents=np.concatenate([self.memory[:, :num_memory], latents], axis=1),
            timesteps=np.concatenate([np.zeros(num_memory), told]),
            latent_numbers=self.memory_numbers[:num_memory] + self.numbers,
            actions=actions,
            rays=np.concatenate([self.memory_rays[:num_memory], self.rays]),
        )


def _denoise(window: _Window, given: Array, noise: Array, network: Network) -> Array:
    """Return the window's latents after all steps; what was given is put back after each."""
    num_given, scale = given.shape[1], window.settings.guidance_scale
    sampler = UniPC(window.settings.num_steps)
    latents: Array = np.concatenate([given, noise[:, num_given:]], axis=1)
    for step, timestep in enumerate(sampler.timesteps):
        told, free = (
            network(window.call(step, latents, num_given, timestep, cond))
            if cond in window.settings.branches
            else np.zeros_like(latents)
            for cond in (True, False)
        )
        velocity = told if scale is None else free + scale * (told - free)
        latents = sampler.step(latents, velocity)
        latents = np.concatenate([given, latents[:, num_given:]], axis=1)
    return latents


def walk_poses(rows: Array) -> Array:
    """Return the camera-to-world matrices [F, 4, 4] of a walk from rest, metres."""
    x = y = pitch = yaw = 0.0
    poses = [_pose(x, y, pitch, yaw)]
    for row in rows:
        keys, (rate_pitch, rate_yaw) = row[:NUM_KEYS], row[NUM_KEYS:]
        turned = yaw + (DEGREES_PER_UNIT * rate_yaw if abs(rate_yaw) >= DEAD_ZONE else 0.0)
        pitch += DEGREES_PER_UNIT * rate_pitch if abs(rate_pitch) >= DEAD_ZONE else 0.0
        turned -= 360 * np.sign(turned) * (abs(turned) > 180)
        ahead, aside = keys[0] - keys[1], keys[3] - keys[2]
        length = DIAGONAL_CENTIMETRES if ahead and aside else STEP_CENTIMETRES
        # The mean is taken after the angle was wrapped: across half a turn it points backwards.
        middle = np.radians((yaw + turned) / 2)
        x += length * (np.cos(middle) * ahead - np.sin(middle) * aside)
        y += length * (np.sin(middle) * ahead + np.cos(middle) * aside)
        yaw = turned
        poses.append(_pose(x, y, pitch, yaw))
    return np.stack(poses)


def _pose(x: float, y: float, pitch: float, yaw: float) -> Array:
    cos_yaw, sin_yaw = np.cos(np.radians(yaw)), np.sin(np.radians(yaw))
    cos_pitch, sin_pitch = np.cos(np.radians(pitch)), np.sin(np.radians(pitch))
    about_up = np.array([[cos_yaw, -sin_yaw, 0], [sin_yaw, cos_yaw, 0], [0, 0, 1]])
    about_right = np.array([[cos_pitch, 0, sin_pitch], [0, 1, 0], [-sin_pitch, 0, cos_pitch]])
    pose = np.eye(4)
    pose[:3, :3] = about_up @ about_right @ CAMERA_TO_BODY
    pose[:3, 3] = [0.01 * x, 0.01 * y, 0.0]
    return pose


def _framewise(poses: Array) -> Array:
    """Return each pose seen from the one before it, the longest step being 1."""
    steps = [np.linalg.inv(a) @ b for a, b in pairwise(poses)]
    return _unit(np.stack([np.eye(4), *steps]))


def _pair(query: Array, memory: Array) -> Array:
    """Return a memory's pose seen from its query's, at distance 1."""
    relative: Array = _unit(np.stack([np.eye(4), np.linalg.inv(query) @ memory]))[1]
    return relative


def _unit(poses: Array) -> Array:
    longest = np.linalg.norm(poses[:, :3, 3], axis=1).max()
    poses[:, :3, 3] /= longest if longest > ROUNDING_METRES else np.inf
    return poses


def _rays(poses: Array, settings: Settings) -> Array:
    """Return (origin, direction) of every pixel of the frame, gathered by token [T, P, R].

    A latent pixel holds (number, row, column) of the frame's pixels in it, a token
    (those, row, column) of the latent pixels in it: the first in each is slowest.
    """
    (height, width), (rows, cols) = settings.frame_size, settings.latent_size
    down, right = np.meshgrid(np.arange(height) + 0.5, np.arange(width) + 0.5, indexing="ij")
    # 90 degrees both ways: the focal lengths are half of the height and half of the width.
    across, along = (right - width / 2) / (width / 2), (down - height / 2) / (height / 2)
    camera = np.stack([across, along, np.ones_like(across)], axis=-1)
    camera /= np.linalg.norm(camera, axis=-1, keepdims=True)
    features = []
    for pose in poses:
        directions = camera @ pose[:3, :3].T
        numbers = np.concatenate([np.broadcast_to(pose[:3, 3], directions.shape), directions], -1)
        cells = numbers.reshape(rows, height // rows, cols, width // cols, 6)
        of_latent = cells.transpose(4, 1, 3, 0, 2).reshape(-1, rows, cols)
        tokens = of_latent.reshape(-1, rows // PATCH, PATCH, cols // PATCH, PATCH)
        features.append(tokens.transpose(1, 3, 0, 2, 4).reshape(rows * cols // PATCH**2, -1))
    size = (rows * cols // PATCH**2, 6 * height * width * PATCH**2 // (rows * cols))
    return np.array(features).reshape(-1, *size)


def chosen_frames(poses: Array, start: int, end: int, slack: float = 0.0) -> list[tuple[int, int]]:
    """Return (past frame, frame that asked for it) of every memory slot, the sink last.

    Args:
        poses: of all frames up to the window's end.
        start: the window's first frame; candidates are frames 1 to start - 1.
        end: the frame after its last.
        slack: how far (pixels, metres) a point may lie beyond an edge that counts as inside, or
            must from one that does not; more than 0 shows whether rounding decides.
    """
    asking = [end - back for back in QUERY_STEPS_BACK]
    found = [1 + int(np.argmax(_shares(poses[frame], poses[1:start], slack))) for frame in asking]
    found[-1] = SINK_FRAME
    return list(zip(found, asking, strict=True))


def _shares(query: Array, candidates: Array, slack: float) -> Array:
    """Return the share of the query's 1,000 points that falls into each candidate's image."""
    side = np.linspace(-1, 1, POINTS_A_SIDE)
    depth = np.linspace(NEAR, FAR, POINTS_A_SIDE)
    own = np.array([(u * z, v * z, z, 1.0) for u in side for v in side for z in depth])
    world = own @ query.T
    shares = []
    for candidate in candidates:
        x, y, z, _ = (world @ np.linalg.inv(candidate).T).T
        in_front = np.maximum(z, 1e-6)
        column = x * TEST_WIDTH / 2 / in_front + TEST_WIDTH / 2
        row = y * TEST_HEIGHT / 2 / in_front + TEST_HEIGHT / 2
        inside = (z > NEAR + slack) & (z < FAR - slack)
        inside &= (column >= -slack) & (column <= TEST_WIDTH + slack)
        inside &= (row >= -slack) & (row <= TEST_HEIGHT + slack)
        shares.append(inside.mean())
    return np.array(shares)


def action_windows(rows: Array) -> Array:
    """Return [T, 12, 8]: the rows of a window that each of its latents reads.

    57 rows are led by twelve copies of the first, 56 by eight.
    """
    is_first = len(rows) % FRAMES_PER_LATENT == 1
    copies = WINDOW_FRAMES if is_first else WINDOW_FRAMES - FRAMES_PER_LATENT
    led = np.concatenate([np.repeat(rows[:1], copies, axis=0), rows])
    starts = range(0, len(rows), FRAMES_PER_LATENT)
    return np.stack([led[begin : begin + WINDOW_FRAMES] for begin in starts])


class UniPC:
    """The flow-matching UniPC sampler, variant B2, predicting clean latents; order 2 at most."""

    def __init__(self, num_steps: int) -> None:
        highest = float(np.float32(0.999))  # the first of the table of training levels
        spread = np.linspace(highest, 0.0, num_steps + 1)[:-1]
        levels = SHIFT * spread / (1 + (SHIFT - 1) * spread)
        self.timesteps = [int(level * 1000) for level in levels]
        self.levels = [*levels.tolist(), 0.0]
        self._estimates: list[Array] = []
        self._orders: list[int] = []
        self._start: Array | None = None

    def step(self, latents: Array, velocity: Array) -> Array:
        """Return the latents at the next level: correct the step before, then predict."""
        now = len(self._estimates)
        estimate = latents - self.levels[now] * velocity
        if self._start is not None:
            latents = self._move(self._start, now, self._orders[-1], estimate)
        self._estimates.append(estimate)
        self._orders.append(min(SOLVER_ORDER, len(self.timesteps) - now, now + 1))
        self._start = latents
        return self._move(latents, now + 1, self._orders[-1], None)

    def _move(self, start: Array, to: int, order: int, reached: Array | None) -> Array:
        """Return latents at level `to` from those at the level before; `reached` corrects."""
        before, after = self.levels[to - 1], self.levels[to]
        span = _log_ratio(before) - _log_ratio(after)  # minus the step h
        growth = np.expm1(span)
        latest = self._estimates[to - 1]
        moved = after / before * start - (1 - after) * growth * latest
        ratios, slopes = [], []
        if order == 2:
            ratio = (_log_ratio(self.levels[to - 2]) - _log_ratio(before)) / -span
            ratios.append(ratio)
            slopes.append((self._estimates[to - 2] - latest) / ratio)
        if reached is None:
            weights = [0.5] * len(slopes)
        else:
            ratios.append(1.0)
            slopes.append(reached - latest)
            weights = _weights(ratios, span, growth)
        bend = sum((w * s for w, s in zip(weights, slopes, strict=True)), np.zeros_like(start))
        bent: Array = moved - (1 - after) * growth * bend
        return bent


def _weights(ratios: list[float], span: float, growth: float) -> list[float]:
    """Return the corrector's weights, which match the exponential integral to its order."""
    if len(ratios) == 1:
        return [0.5]
    first = growth / span - 1
    second = 2 * (first / span - 0.5)
    matrix = np.array([np.ones(2), np.array(ratios)])
    solved = np.linalg.solve(matrix, np.array([first, second]) / growth)
    return [float(weight) for weight in solved]


def _log_ratio(level: float) -> float:
    """Return the logarithm of signal over noise of a level."""
    return float("inf") if level == 0 else float(np.log((1 - level) / level))
