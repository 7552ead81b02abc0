"""One window of the reference layout: its memory, its relative cameras, the actions it reads.

Plain arrays in, plain arrays out. It does not know networks, noise or sessions.

Letters: T latents of a window, M memory latents, F frames, W frames of an action window, A numbers
of a frame's action (keys, then axes), Q query poses.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from worldloom.actions import NO_ACTION_KEYBOARD, NO_ACTION_MOUSE, NUM_KEYS, NUM_MOUSE_AXES
from worldloom.arrays import FloatArray, SingleArray
from worldloom.camera import framewise_relative, memory_relative, relative_to
from worldloom.errors import ConfigError
from worldloom.frames import (
    ACTION_WINDOW_FRAMES,
    REFERENCE_FIRST_FRAMES,
    REFERENCE_NEW_FRAMES,
    REFERENCE_WINDOW_FRAMES,
    TEMPORAL_STRIDE,
    SegmentFrames,
    num_latent_frames,
    reference_action_slice,
)
from worldloom.memory.reference import MemorySlot
from worldloom.memory.retrieval import pose_distance
from worldloom.model.config import TransformerConfig

Poses = Float[FloatArray, "_ 4 4"]


def require_reference_segments(config: TransformerConfig) -> None:
    """Raise `ConfigError` unless a configuration cuts a walk as Matrix-Game 3.0 does."""
    new = REFERENCE_NEW_FRAMES // TEMPORAL_STRIDE
    expected = {
        "layout": "reference",
        "first_segment_latents": num_latent_frames(REFERENCE_FIRST_FRAMES),
        "segment_latents": new,
        "num_past_latents": REFERENCE_WINDOW_FRAMES // TEMPORAL_STRIDE - new,
        "action_window_latents": ACTION_WINDOW_FRAMES // TEMPORAL_STRIDE,
    }
    values = config.model_dump()
    wrong = [name for name, value in expected.items() if values[name] != value]
    if wrong:
        found = ", ".join(f"{name}={values[name]}" for name in wrong)
        wanted = ", ".join(f"{name}={expected[name]}" for name in wrong)
        message = f"{found}: the reference's windows are fixed, expected {wanted}"
        raise ConfigError(message)


def relative_poses(
    config: TransformerConfig, window: Poses, memory: Poses, queries: Poses
) -> Poses:
    """Return what each latent's rays are drawn from: memory first, then the window.

    A memory latent is seen from the frame that it was chosen for, a window's latent from the one
    before it. With relative translation the longest step of the window, and each memory's
    distance, count as one (Matrix-Game 3.0); with metric translation they stay metres.
    """
    if config.translation == "relative":
        of_memory, of_window = memory_relative(queries, memory), framewise_relative(window)
    else:
        of_memory = relative_to(queries, memory)
        of_window = np.concatenate([np.eye(4)[None], relative_to(window[:-1], window[1:])])
    return np.concatenate([of_memory, of_window])


def nearest_query(
    latents: list[int],
    poses: Poses,
    query_frames: tuple[int, ...],
    query_poses: Poses,
) -> list[MemorySlot]:
    """Return each chosen latent with the query frame whose camera is nearest to it."""
    return [
        MemorySlot(latent, query_frames[int(pose_distance(pose[None], query_poses).argmin())])
        for latent, pose in zip(latents, poses, strict=True)
    ]


def window_actions(
    frames: SegmentFrames, actions: Float[SingleArray, "F A"], window_frames: int
) -> Float[SingleArray, "T W A"]:
    """Return the actions that a window's latents read, of the actions of the window's frames.

    The reference's row f moves the camera from frame f to f + 1, so it is our row f + 1; the one
    after the window's last frame is not known yet, and the last one is held. Before the window its
    first row is repeated.
    """
    rows = np.concatenate([actions[1:], actions[-1:]])
    is_first = frames.segment_index == 0
    windows = []
    for latent in range(frames.first_latent, frames.last_latent + 1):
        _, last = reference_action_slice(latent, is_first_segment=is_first)
        at = np.arange(last - window_frames + 1, last + 1) - frames.start_frame
        windows.append(rows[np.clip(at, 0, len(rows) - 1)])
    return np.stack(windows)


def no_action(count: int, window_frames: int) -> Float[SingleArray, "count W A"]:
    """Return windows that say that nothing is known of the actions."""
    row = [NO_ACTION_KEYBOARD] * NUM_KEYS + [NO_ACTION_MOUSE] * NUM_MOUSE_AXES
    return np.tile(np.array(row, np.float32), (count, window_frames, 1))
