"""The published model from its own files: transformer, VAE, prompt encoder, ready to walk.

    transformer   Matrix-Game 3.0's `base_model` or `base_distilled_model`, safetensors, sharded or
                  not
    vae           Wan2.2's VAE as safetensors; a light decoder may come from a file of its own
    text          umT5's folder: tokenizer.json, config.json, safetensors

It does not know presets: shapes and samplers are given.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from worldloom.camera import Intrinsics, Kinematics
from worldloom.memory.config import BankConfig, RetrievalConfig
from worldloom.model.config import TransformerConfig
from worldloom.model.text.prompt_encoder import PromptEncoder, load_prompt_encoder
from worldloom.model.vae.wan_vae import WanVAE
from worldloom.model.vae.wan_vae_config import WanVAEConfig
from worldloom.model.vae.wan_vae_weights import load_wan_vae
from worldloom.model.weights.state_dict import MATRIX_GAME_3, load_public
from worldloom.rollout.config import SamplerConfig
from worldloom.rollout.segment import Conditioner
from worldloom.rollout.world_model import WorldModel


@dataclass(frozen=True)
class PublicFiles:
    """Where the published weights are."""

    transformer: Path
    vae: Path
    text: Path | None = None
    light_decoder: Path | None = None
    tokenizer: Path | None = None  # its folder, where that is not `text`


def load_public_model(
    files: PublicFiles,
    config: TransformerConfig,
    vae_config: WanVAEConfig,
    *,
    sampler: SamplerConfig,
    kinematics: Kinematics,
    intrinsics: Intrinsics,
    dtype: torch.dtype = torch.bfloat16,
    device: torch.device | str = "cpu",
) -> WorldModel:
    """Read the published weights; nothing is in memory twice.

    Args:
        files: where they are.
        config: the transformer's shape.
        vae_config: the VAE's shape, with what a light decoder lacks.
        sampler: levels, solver and guidance.
        kinematics: what an action moves.
        intrinsics: camera of the frames.
        dtype: of all weights, as they compute.
        device: where they go.

    Raises:
        ArtifactError: for a file that is missing, a pickle, or not what the shapes expect.
    """
    prompt_encoder = _prompt_encoder(files, config, dtype, device)
    transformer, _ = load_public(
        config, files.transformer, MATRIX_GAME_3, dtype=dtype, device=device
    )
    vae: WanVAE = load_wan_vae(files.vae, vae_config, decoder_path=files.light_decoder, dtype=dtype)
    return WorldModel(
        transformer=transformer.eval().requires_grad_(requires_grad=False),
        encoder=vae.encoder.to(device),
        decoder=vae.decoder.to(device),
        conditioner=Conditioner(config, intrinsics).to(device),
        sampler=sampler,
        retrieval=RetrievalConfig(method="reference"),
        kinematics=kinematics,
        intrinsics=intrinsics,
        bank=BankConfig(),
        prompt_encoder=prompt_encoder,
    )


def _prompt_encoder(
    files: PublicFiles, config: TransformerConfig, dtype: torch.dtype, device: torch.device | str
) -> PromptEncoder | None:
    if config.text != "umt5" or files.text is None:
        return None
    return load_prompt_encoder(
        files.text, tokenizer_folder=files.tokenizer, dtype=dtype, device=device
    )
