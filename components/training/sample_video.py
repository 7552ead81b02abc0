"""A walk that a model under training makes, beside the recorded one, as a small video."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from numpy.typing import NDArray

from components.training.transformer_config import SampleVideoConfig
from worldloom.actions import Actions
from worldloom.camera import Kinematics, yaw_pitch
from worldloom.data.latents import LatentClips
from worldloom.errors import DataError
from worldloom.memory.retrieval import RetrievalConfig
from worldloom.model.transformer import WorldModelTransformer
from worldloom.model.vae.video_vae import VideoVAE
from worldloom.rollout.config import SamplerConfig
from worldloom.rollout.segment import Conditioner
from worldloom.rollout.session import WorldSession
from worldloom.rollout.world_model import WorldModel, video_to_frames

Frames = NDArray[np.uint8]

FRAMES_PER_SECOND = 16
GAP_PIXELS = 4


@dataclass(frozen=True)
class Walk:
    """Generated and recorded frames uint8 [F, H, W, 3] of the same actions."""

    generated: Frames
    recorded: Frames


def sample_walk(
    transformer: WorldModelTransformer,
    vae: VideoVAE,
    clips: LatentClips,
    config: SampleVideoConfig,
    *,
    sampler: SamplerConfig,
    retrieval: RetrievalConfig,
) -> Walk:
    """Walk a held-out clip's actions from its first frame (as the VAE gives it back)."""
    row = config.clip_index
    if row >= len(clips):
        message = f"sample.clip_index={row}: {len(clips)} held-out clips, expected one of them"
        raise DataError(message)
    model = WorldModel(
        transformer=transformer,
        encoder=vae.encoder,
        decoder=vae.decoder,
        conditioner=Conditioner(transformer.config, clips.intrinsics),
        sampler=sampler,
        retrieval=retrieval,
        kinematics=Kinematics(),
        intrinsics=clips.intrinsics,
    )
    size = model.segment_frames
    segments = min(config.num_segments, (clips.keyboard.shape[1] - 1) // size)
    with torch.inference_mode():
        latents = clips.latents[row].float().transpose(0, 1)[None]
        recorded = video_to_frames(vae.decode(latents))
    _, pitch = yaw_pitch(clips.poses[row, 0].double().numpy())
    session = WorldSession(
        model,
        image=recorded[0],
        prompt=clips.prompts[row],
        seed=config.seed,
        pitch_radians=pitch,
    )
    frames = [recorded[:1]]
    for index in range(segments):
        span = slice(1 + index * size, 1 + (index + 1) * size)
        actions = Actions(
            keyboard=clips.keyboard[row, span].numpy(), mouse=clips.mouse[row, span].numpy()
        )
        frames.append(session.generate_segment(actions))
    return Walk(np.concatenate(frames), recorded[: 1 + segments * size])


def write_walk(path: Path, walk: Walk, *, scale: int) -> None:
    """Write a video: the generated walk left, the recorded one right."""
    count, height = walk.generated.shape[:2]
    gap = np.zeros((count, height, GAP_PIXELS, 3), np.uint8)
    both = np.concatenate([walk.generated, gap, walk.recorded], axis=2)
    both = both.repeat(scale, axis=1).repeat(scale, axis=2)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(FRAMES_PER_SECOND))
        stream.height, stream.width = both.shape[1] // 2 * 2, both.shape[2] // 2 * 2
        stream.pix_fmt = "yuv420p"
        for image in both[:, : stream.height, : stream.width]:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
