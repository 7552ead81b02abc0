"""The smallest world model that has every part; not a test."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from worldloom.camera import Intrinsics, Kinematics, integrate_poses
from worldloom.data.latents import LatentClips
from worldloom.diffusion.levels import sampler_levels
from worldloom.memory.retrieval import RetrievalConfig
from worldloom.model.config import TransformerConfig
from worldloom.model.transformer import WorldModelTransformer
from worldloom.model.vae.video_vae import VAEConfig, VAEDecoder, VAEEncoder
from worldloom.rollout.config import SamplerConfig
from worldloom.rollout.segment import Conditioner
from worldloom.rollout.world_model import WorldModel

FRAME_SIZE = (32, 32)
INTRINSICS = Intrinsics.from_fov(*FRAME_SIZE)
CONFIG = TransformerConfig(
    latent_channels=4,
    latent_height=4,
    latent_width=4,
    dim=40,
    num_blocks=2,
    num_heads=2,
    ffn_dim=32,
    num_action_blocks=1,
    action_dim=16,
    action_num_heads=2,
    text_dim=8,
    num_memory_latents=3,
    num_past_latents=2,
)
VAE_CONFIG = VAEConfig(latent_channels=4, encoder_widths=(8, 8), decoder_widths=(8, 8))


def tiny_transformer(seed: int = 0) -> WorldModelTransformer:
    """A transformer in which every path has an effect (no layer is left at zero)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transformer = WorldModelTransformer(CONFIG)
        for parameter in transformer.parameters():
            if not parameter.detach().abs().sum():
                torch.nn.init.normal_(parameter, std=0.1)
    return transformer


def tiny_model(seed: int = 0) -> WorldModel:
    """A world model with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder, decoder = VAEEncoder(VAE_CONFIG), VAEDecoder(VAE_CONFIG)
    return WorldModel(
        transformer=tiny_transformer(seed).eval(),
        encoder=encoder.eval(),
        decoder=decoder.eval(),
        conditioner=Conditioner(CONFIG, INTRINSICS),
        sampler=SamplerConfig(),
        retrieval=RetrievalConfig(),
        kinematics=Kinematics(),
        intrinsics=INTRINSICS,
    )


def tiny_reference_model(method: str = "cover", guidance_scale: float = 1.0) -> WorldModel:
    """A world model in the reference layout, with Matrix-Game 3.0's windows and sampler."""
    levels = sampler_levels(3)
    config = CONFIG.model_copy(
        update={
            "layout": "reference",
            "position": "lattice",
            "translation": "relative",
            "has_place_embedding": False,
            "is_residual_normed": True,
            "first_segment_latents": 15,
            "segment_latents": 10,
            "num_past_latents": 4,
            "num_memory_latents": 5,
            "max_memory_gap": 2033,
        }
    )
    stream = tiny_model()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        transformer = WorldModelTransformer(TransformerConfig.model_validate(config.model_dump()))
        for parameter in transformer.parameters():
            if not parameter.detach().abs().sum():
                torch.nn.init.normal_(parameter, std=0.1)
    return replace(
        stream,
        transformer=transformer.eval(),
        conditioner=Conditioner(transformer.config, INTRINSICS),
        sampler=SamplerConfig(
            sigmas=levels.sigmas[:-1],
            solver="unipc",
            truncates_timesteps=True,
            guidance_scale=guidance_scale,
        ),
        retrieval=RetrievalConfig(method=method),
    )


def tiny_clips(num_clips: int = 3, num_segments: int = 3, seed: int = 0) -> LatentClips:
    """Random latents along walks that turn and advance."""
    rng = np.random.default_rng(seed)
    latents = 1 + num_segments * CONFIG.segment_latents
    frames = 1 + 4 * (latents - 1)
    keyboard = (rng.random((num_clips, frames, 6)) < 0.4).astype(np.float32)
    mouse = rng.choice([-0.2, 0.0, 0.2], (num_clips, frames, 2)).astype(np.float32)
    mouse[..., 0] = 0
    keyboard[:, 0], mouse[:, 0] = 0, 0
    poses = np.stack(
        [
            integrate_poses(np.eye(4), keys.astype(float), moves.astype(float), Kinematics())
            for keys, moves in zip(keyboard, mouse, strict=True)
        ]
    )
    shape = (num_clips, latents, CONFIG.latent_channels, CONFIG.latent_height, CONFIG.latent_width)
    return LatentClips(
        latents=torch.from_numpy(rng.standard_normal(shape).astype(np.float16)),
        poses=torch.from_numpy(poses).float(),
        keyboard=torch.from_numpy(keyboard),
        mouse=torch.from_numpy(mouse),
        prompts=[f"room {index}" for index in range(num_clips)],
        clip_ids=[f"clip-{index}" for index in range(num_clips)],
        sources=["procedural"] * num_clips,
        intrinsics=INTRINSICS,
        frame_size=FRAME_SIZE,
    )
