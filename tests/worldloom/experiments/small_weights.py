"""A starter folder of the tiny model; not a test."""

from __future__ import annotations

from pathlib import Path

import torch
from tiny import VAE_CONFIG, tiny_transformer

from worldloom.memory.retrieval import RetrievalConfig
from worldloom.model.vae.video_vae import VideoVAE, save_vae
from worldloom.rollout.config import SamplerConfig
from worldloom.train.model_checkpoint import save_model

BASE_SAMPLER = SamplerConfig(sigmas=(1.0, 0.9, 0.7, 0.4), solver="euler")


def write_starter(folder: Path) -> Path:
    """Write base, student and VAE with random weights; return the folder."""
    for name, seed, sampler in (("base", 0, BASE_SAMPLER), ("student", 1, SamplerConfig())):
        (folder / name).mkdir(parents=True)
        save_model(
            folder / name, tiny_transformer(seed), sampler=sampler, retrieval=RetrievalConfig()
        )
    (folder / "vae").mkdir()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_vae(folder / "vae", VideoVAE(VAE_CONFIG))
    return folder
