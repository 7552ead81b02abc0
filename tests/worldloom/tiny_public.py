"""A tiny model in the published files' form: transformer in two shards, VAE, umT5; not a test."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tiny_text import TINY as TINY_TEXT
from tiny_text import save_public_folder
from tiny_wan import tiny_wan_vae

from worldloom.model.config import TransformerConfig
from worldloom.model.transformer import WorldModelTransformer
from worldloom.model.vae.wan_vae_weights import save_wan_weights
from worldloom.model.weights.state_dict import public_name
from worldloom.rollout.public_model import PublicFiles

CONFIG = TransformerConfig(
    layout="reference", position="lattice", translation="relative", is_residual_normed=True,
    has_place_embedding=False, latent_channels=4, latent_height=2, latent_width=4,
    spatial_stride=16, ray_samples=16, dim=48, num_blocks=2, num_heads=2, ffn_dim=64,
    rope_jitter=0.8, max_memory_gap=2033, num_action_blocks=1, action_dim=32, action_num_heads=2,
    text="umt5", num_text_blocks=2, text_dim=TINY_TEXT.dim, text_length=512,
    first_segment_latents=15, segment_latents=10, num_past_latents=4, num_memory_latents=5,
)  # fmt: skip


def save_public_files(root: Path) -> tuple[PublicFiles, WorldModelTransformer]:
    """Write the three parts as their publishers name them; return where, and the transformer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformer = WorldModelTransformer(CONFIG)
        for parameter in transformer.parameters():
            if not parameter.detach().any():
                torch.nn.init.normal_(parameter, std=0.05)
    tensors = {public_name(name): p.detach() for name, p in transformer.named_parameters()}
    patch = tensors["patch_embedding.weight"]
    tensors["patch_embedding.weight"] = patch.reshape(-1, 4, 1, 2, 2)
    shards, folder = {}, root / "base_distilled_model"
    folder.mkdir()
    for number, names in enumerate((sorted(tensors)[::2], sorted(tensors)[1::2])):
        shard = f"diffusion_pytorch_model-{number}.safetensors"
        save_file({name: tensors[name].contiguous() for name in names}, folder / shard)
        shards |= dict.fromkeys(names, shard)
    index = folder / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": shards}))
    vae = root / "Wan2.2_VAE.safetensors"
    save_wan_weights(vae, tiny_wan_vae(), dtype=torch.float32)
    save_public_folder(root / "text")
    return PublicFiles(folder, vae, root / "text"), transformer
