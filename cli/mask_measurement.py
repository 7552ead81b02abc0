"""Which latents of a sequence reach which others, found by changing one latent after another.

A small network whose every layer is filled runs in float64 on a walk of ten latents: the start
image, two committed segments of three, and a noisy one. Whatever comes out differently when latent
j is another one hangs on j, however many blocks lie between. Poses, actions and prompt stay as they
are. In the stream layout a committed latent's output is its keys and values, in the reference
layout, and for noisy latents in both, it is the velocity. It does not know how this is drawn.

Letters: N latents of the sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from worldloom.actions import NUM_KEYS, NUM_MOUSE_AXES
from worldloom.arrays import BoolArray
from worldloom.camera import Intrinsics, Kinematics, integrate_poses
from worldloom.config import JsonValue
from worldloom.data.latents import LatentClips
from worldloom.frames import num_pixel_frames
from worldloom.memory.config import RetrievalConfig
from worldloom.model.config import TransformerConfig
from worldloom.model.transformer import SegmentConditions, WorldModelTransformer
from worldloom.rollout.segment import Conditioner
from worldloom.train.clip_context import SegmentedClips, commit_clips
from worldloom.train.flow_objective import Seen, predict_velocity

SEGMENT = 3
NUM_MEMORY = 1 + SEGMENT  # the sink, which is the start image, and one segment
NUM_PAST = SEGMENT
NUM_CLEAN = NUM_MEMORY + NUM_PAST
NUM_LATENTS = NUM_CLEAN + SEGMENT

Reads = Bool[BoolArray, "N N"]
Outputs = Callable[[Tensor], list[Tensor]]

_SIGMA = 0.7
_SEED = 0
_ROUNDING = 1e-12  # far above what float64 loses here, far below what any path carries
_SHAPE = TransformerConfig(
    latent_channels=4,
    latent_height=4,
    latent_width=4,
    dim=40,
    num_blocks=3,
    num_heads=2,
    ffn_dim=32,
    num_action_blocks=1,
    action_dim=16,
    action_num_heads=2,
    text_dim=8,
    segment_latents=SEGMENT,
    num_past_latents=NUM_PAST,
    num_memory_latents=NUM_MEMORY,
)
_LATENT_SHAPE = (_SHAPE.latent_channels, _SHAPE.latent_height, _SHAPE.latent_width)
_REFERENCE: Mapping[str, JsonValue] = {
    "layout": "reference",
    "position": "lattice",
    "translation": "relative",
    "is_residual_normed": True,
    "has_place_embedding": False,
}


@dataclass(frozen=True)
class Mask:
    """Who reads whom in one arrangement.

    Attributes:
        reads: [N, N], true where the output of the row's latent hangs on the column's latent.
        smallest_change: least change of an output that counts as one, of outputs of about 1.
        largest_rest: greatest change of an output that does not.
    """

    reads: Reads
    smallest_change: float
    largest_rest: float


def measure_masks() -> Mapping[str, Mask]:
    """Return the masks of the reference layout and of the stream's three reaches."""
    masks = {"reference": measure_reference(filled_transformer(_REFERENCE))}
    for reach in ("latent", "segment", "window"):
        stream = filled_transformer({"reach": reach, "accepts_inexact_replay": reach == "window"})
        masks[reach] = measure_stream(stream)
    return masks


def filled_transformer(changes: Mapping[str, JsonValue]) -> WorldModelTransformer:
    """Return a small float64 network in which every path has an effect."""
    config = TransformerConfig.model_validate({**_SHAPE.model_dump(), **changes})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        transformer = WorldModelTransformer(config)
        for parameter in transformer.parameters():
            if not parameter.detach().any():
                torch.nn.init.normal_(parameter, std=0.1)
    return transformer.double().eval()


def measure_stream(transformer: WorldModelTransformer) -> Mask:
    """Measure committed keys and values, and the velocity of the noisy segment after them."""
    clips = _walk()
    clip = SegmentedClips(clips, transformer.config, RetrievalConfig())
    batch = clip.batch(torch.tensor([0]))
    conditioner = Conditioner(transformer.config, clips.intrinsics)
    sigma = torch.full((clip.num_segments,), _SIGMA)

    def outputs(latents: Tensor) -> list[Tensor]:
        by_latent = latents.transpose(1, 2)
        committed = commit_clips(transformer, conditioner, batch, by_latent)
        kept = [torch.stack([x.keys[0], x.values[0]], dim=1) for x in committed]
        noisy = by_latent[:, 1:].unflatten(1, (-1, SEGMENT)).flatten(0, 1).transpose(1, 2)
        seen = Seen(by_latent)
        velocity = predict_velocity(transformer, conditioner, batch, seen, noisy, sigma)
        of_clean = [torch.stack([x[index] for x in kept]) for index in range(NUM_CLEAN)]
        return [*of_clean, *velocity[-1].unbind(1)]

    return _measure(outputs)


def measure_reference(transformer: WorldModelTransformer) -> Mask:
    """Measure the velocity at every latent of a window; that of clean ones is thrown away."""
    clips = _walk()
    clip = SegmentedClips(clips, transformer.config, RetrievalConfig())
    batch = clip.batch(torch.tensor([0]))
    geometry = Conditioner(transformer.config, clips.intrinsics).geometry
    conditions = SegmentConditions(
        rays=geometry.rays(batch.poses),
        coordinates=geometry.lattice_coordinates(torch.arange(NUM_LATENTS)[None]),
        keyboard=batch.keyboard,
        mouse=batch.mouse,
        prompt=batch.prompt,
        num_memory=NUM_MEMORY,
    )
    sigma = torch.full((1, NUM_LATENTS), _SIGMA)
    sigma[:, :NUM_CLEAN] = 0

    def outputs(latents: Tensor) -> list[Tensor]:
        velocity = transformer.denoise(latents, sigma, transformer.prepare(conditions))
        return list(velocity[0].unbind(1))

    return _measure(outputs)


def _measure(outputs: Outputs) -> Mask:
    """Change one of the latents [1, C, N, H, W] after another and see which outputs follow."""
    generator = torch.Generator().manual_seed(_SEED)
    channels, height, width = _LATENT_SHAPE
    shape = (2, 1, channels, NUM_LATENTS, height, width)
    latents, others = torch.randn(shape, generator=generator, dtype=torch.float64)
    changes = np.zeros((NUM_LATENTS, NUM_LATENTS))
    with torch.inference_mode():
        before = outputs(latents)
        for column in range(NUM_LATENTS):
            changed = latents.clone()
            changed[:, :, column] = others[:, :, column]
            after = outputs(changed)
            changes[:, column] = [
                float((new - old).abs().max()) for new, old in zip(after, before, strict=True)
            ]
    reads = changes > _ROUNDING
    return Mask(reads, float(changes[reads].min()), float(changes[~reads].max(initial=0.0)))


def _walk() -> LatentClips:
    """Return one walk that advances and turns; its latents are never read."""
    frames = num_pixel_frames(NUM_LATENTS)
    keyboard = np.zeros((frames, NUM_KEYS), np.float32)
    mouse = np.zeros((frames, NUM_MOUSE_AXES), np.float32)
    keyboard[1:, 0], mouse[1:, 1] = 1, 0.1
    poses = integrate_poses(np.eye(4), keyboard.astype(float), mouse.astype(float), Kinematics())
    size = _SHAPE.frame_size
    return LatentClips(
        latents=torch.zeros(1, NUM_LATENTS, *_LATENT_SHAPE),
        poses=torch.from_numpy(poses)[None].float(),
        keyboard=torch.from_numpy(keyboard)[None],
        mouse=torch.from_numpy(mouse)[None],
        prompts=["a hall"],
        clip_ids=["walk"],
        sources=["procedural"],
        intrinsics=Intrinsics.from_fov(*size),
        frame_size=size,
    )
