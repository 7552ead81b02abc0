"""Task `encode_latents`: every clip through the frozen encoder, once.

The artifact's parents are the clips and the VAE, so latents of another encoder have another digest.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from components.runtime import Step, StepContext
from components.training.vae_config import EncodeLatentsStepConfig
from worldloom.data.clips import Row, clip_index, read_clips
from worldloom.data.latents import LatentClips, write_latents
from worldloom.data.schema import SPLITS, Clip, Split
from worldloom.errors import DataError
from worldloom.frames import longest_causal_length
from worldloom.log import log_event
from worldloom.model.vae.video_vae import VideoVAE, load_vae
from worldloom.train.trainer import deterministic_arithmetic
from worldloom.train.vae_windows import to_video

logger = logging.getLogger(__name__)

STEP = Step(
    name="encode_latents",
    config=EncodeLatentsStepConfig,
    parents=("clips", "vae"),
    outputs=("latents",),
)


def run(context: StepContext[EncodeLatentsStepConfig]) -> Mapping[str, str]:
    """Encode both splits and store them."""
    config = context.config
    clips = context.folder("clips")
    vae = load_vae(context.folder("vae"))
    if torch.cuda.is_available():
        vae = vae.cuda()
    num_frames = common_length(clips, config.num_frames)
    folder = context.fresh_folder("latents")
    counts = {}
    with deterministic_arithmetic(enabled=True, num_threads=config.num_threads):
        for split in SPLITS:
            encoded = encode_split(vae, clips, split, num_frames, config.batch_clips)
            write_latents(folder, split, encoded)
            counts[f"{split}_clips"] = len(encoded)
    context.tracker.log_params({"num_frames": num_frames, **counts})
    log_event(logger, "latents_encoded", num_frames=num_frames, **counts)
    return {"latents": context.commit(folder, "latents")}


def common_length(clips: Path, asked: int) -> int:
    """Return the frames that every clip has and that are encoded of each.

    Raises:
        DataError: when a split is empty, a clip is shorter than what was asked for, or clips have
            several cameras.
    """
    rows = clip_index(clips)
    for split in SPLITS:
        if not any(row["split"] == split for row in rows):
            message = f"clips folder {clips}, split {split!r}: no clips, expected at least one"
            raise DataError(message)
    for row in rows[1:]:
        if _camera(row) != _camera(rows[0]):
            message = (
                f"clip {row['clip_id']!r}: height, width and intrinsics {_camera(row)}, expected "
                f"those of the first clip, {_camera(rows[0])}"
            )
            raise DataError(message)
    shortest = min(rows, key=_num_frames)
    num_frames = longest_causal_length(asked or _num_frames(shortest))
    if _num_frames(shortest) < num_frames:
        message = (
            f"clip {shortest['clip_id']!r}: {_num_frames(shortest)} frames, "
            f"expected at least {num_frames}"
        )
        raise DataError(message)
    return num_frames


@torch.no_grad()
def encode_split(
    vae: VideoVAE, clips: Path, split: Split, num_frames: int, batch_clips: int
) -> LatentClips:
    """Encode the first `num_frames` frames of each clip of a split."""
    kept: list[Clip] = []
    latents: list[Tensor] = []
    for batch in _batches(read_clips(clips, split), batch_clips):
        video = to_video(np.stack([clip.frames[:num_frames] for clip in batch]))
        device = vae.encoder.latent_mean.device
        latents.append(vae.encode(video.to(device)).transpose(1, 2).half().cpu())
        kept += [replace(clip, frames=clip.frames[:1]) for clip in batch]
    first = kept[0]
    return LatentClips(
        latents=torch.cat(latents),
        poses=_stacked([clip.poses_c2w[:num_frames] for clip in kept]),
        keyboard=_stacked([clip.keyboard[:num_frames] for clip in kept]),
        mouse=_stacked([clip.mouse[:num_frames] for clip in kept]),
        prompts=[clip.prompt for clip in kept],
        clip_ids=[clip.clip_id for clip in kept],
        sources=[clip.source for clip in kept],
        intrinsics=first.intrinsics,
        frame_size=(first.frames.shape[1], first.frames.shape[2]),
    )


def _batches(clips: Iterator[Clip], size: int) -> Iterator[list[Clip]]:
    while batch := list(islice(clips, size)):
        yield batch


def _stacked(arrays: list[NDArray[np.float32]]) -> Tensor:
    return torch.from_numpy(np.stack(arrays))


def _num_frames(row: Row) -> int:
    return cast("int", row["num_frames"])


def _camera(row: Row) -> tuple[object, ...]:
    return row["height"], row["width"], *cast("list[float]", row["intrinsics"])
