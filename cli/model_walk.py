"""`worldloom model walk`: a film of a walk through the published model, from its own files.

It opens, walks and writes; what each of these is, the library knows.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from worldloom.errors import DataError

if TYPE_CHECKING:
    from worldloom.actions import Actions
    from worldloom.presets import ModelPreset
    from worldloom.rollout.public_model import PublicFiles
    from worldloom.rollout.reference_session import ReferenceSession
    from worldloom.rollout.world_model import Frames


@dataclass(frozen=True)
class Walk:
    """What to walk: where it begins, what is done, what it is called."""

    image: Path
    prompt: str
    actions: Path
    seed: int


def walk(
    name: str,
    model: ModelPreset,
    files: PublicFiles,
    wanted: Walk,
    *,
    removed: float,
    is_base: bool,
    device: str,
) -> Frames:
    """Return the frames uint8 [F, H, W, 3] of a walk, the start image's first.

    Args:
        name: the preset's, for messages.
        model: the preset.
        files: where the weights are.
        wanted: the walk.
        removed: share of channels that the decoder's file lacks.
        is_base: whether the weights are the many-step base model's.
        device: where it computes.

    Raises:
        DataError: for an image or actions that do not fit; before any weight is read.
        MachineError: for a device that is missing or too small; likewise.
        ArtifactError: for weights that do not fit.
    """
    import torch

    from worldloom.actions import read_actions
    from worldloom.bench.record import open_device
    from worldloom.model.cost.memory_plan import require_memory
    from worldloom.model.vae.wan_vae_config import WanVAEConfig
    from worldloom.rollout.public_model import load_public_model
    from worldloom.rollout.reference_session import ReferenceSession
    from worldloom.rollout.reference_window import require_reference_segments

    require_reference_segments(model.transformer)
    image = _read_image(wanted.image, model.transformer.frame_size)
    actions = read_actions(wanted.actions)
    lengths = _segment_lengths(len(actions))
    where = open_device(device)
    if where.type == "cuda":
        free, _ = torch.cuda.mem_get_info(where)
        require_memory(model.transformer, free, name=name, weights="bf16")
    opened = load_public_model(
        files,
        model.transformer,
        WanVAEConfig(decoder_removed=removed),
        sampler=model.base_sampler if is_base else model.sampler,
        kinematics=model.kinematics,
        intrinsics=model.intrinsics,
        device=where,
    )
    session = ReferenceSession(opened, image=image, prompt=wanted.prompt, seed=wanted.seed)
    return _film(session, actions, lengths)


def _film(session: ReferenceSession, actions: Actions, lengths: list[int]) -> Frames:
    """Walk segment by segment; a bar shows how far."""
    import numpy as np

    from cli.progress import progress

    frames, start = [session.first_frame[None]], 0
    with progress("frames") as report:
        for length in lengths:
            frames.append(session.generate_segment(actions[start : start + length]))
            start += length
            report(start, len(actions))
    session.close()
    return np.concatenate(frames)


def _segment_lengths(num_actions: int) -> list[int]:
    """Return how many actions each segment takes; raises `DataError` unless they come out even."""
    from worldloom.frames import REFERENCE_FIRST_FRAMES, REFERENCE_NEW_FRAMES

    first, later = REFERENCE_FIRST_FRAMES - 1, REFERENCE_NEW_FRAMES
    if num_actions < first or (num_actions - first) % later:
        message = (
            f"actions: {num_actions} frames, expected {first} and any number of times {later} more "
            f"({first}, {first + later}, {first + 2 * later}, ...)"
        )
        raise DataError(message)
    return [first, *[later] * ((num_actions - first) // later)]


def _read_image(path: Path, frame_size: tuple[int, int]) -> Frames:
    """Return an image uint8 [H, W, 3]; raises `DataError` if it is none, or of another size."""
    import cv2
    import numpy as np

    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        message = f"start image {path}: {error.strerror}"
        raise DataError(message) from error
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    if image is None:
        message = f"start image {path}: not an image that can be read, expected a PNG or JPEG"
        raise DataError(message)
    height, width = frame_size
    if image.shape[:2] != frame_size:
        found = "x".join(map(str, image.shape[:2]))
        message = f"start image {path}: {found} pixels, expected {height}x{width}"
        raise DataError(message)
    return np.ascontiguousarray(image[..., ::-1])
