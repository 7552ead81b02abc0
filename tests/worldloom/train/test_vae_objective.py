"""The VAE's objective: what it measures, what it trains, what it leaves alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from worldloom.model.vae.vae_init import init_from_patches, video_patches
from worldloom.model.vae.video_vae import VAEConfig, VideoVAE
from worldloom.train.vae_config import VAEObjectiveConfig
from worldloom.train.vae_objective import (
    VAEObjective,
    latent_statistics_distance,
    measure_latent_statistics,
    psnr_db,
    reconstruction_parts,
    texture_error,
)
from worldloom.train.vae_windows import to_video

TINY = VAEConfig(latent_channels=8, encoder_widths=(8, 8, 8), decoder_widths=(16, 8, 8))
OBJECTIVE = VAEObjectiveConfig(batch_size=4, window_frames=5, evaluation_windows=4)


def smooth_clips(count: int, seed: int) -> list[np.ndarray]:
    """Return clips of a bright square that moves over a dark ground."""
    generator = np.random.default_rng(seed)
    clips = []
    for _ in range(count):
        frames = np.full((13, 16, 16, 3), generator.integers(0, 80, 3), np.uint8)
        colour, row = generator.integers(128, 256, 3), int(generator.integers(0, 10))
        for index, frame in enumerate(frames):
            frame[row : row + 6, index // 2 : index // 2 + 6] = colour
        clips.append(frames)
    return clips


def objective(*, train_encoder: bool, pca_start: bool = True) -> VAEObjective:
    train = smooth_clips(8, 0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vae = VideoVAE(TINY)
    patches = [video_patches(to_video(c), 8, torch.Generator()) for c in train]
    if pca_start:
        init_from_patches(vae, torch.cat(patches))
    config = OBJECTIVE.model_copy(update={"train_encoder": train_encoder})
    return VAEObjective(vae, config, train=train, held_out=smooth_clips(3, 0))


def train(task: VAEObjective, num_steps: int) -> None:
    optimizer = torch.optim.AdamW(task.module.parameters(), lr=2e-3)
    for step in range(num_steps):
        loss, _ = task.loss(step, torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_psnr_of_a_known_error() -> None:
    video = torch.zeros(1, 3, 5, 4, 4)
    assert psnr_db(video + 0.2, video) == pytest.approx(20.0, abs=1e-4)


def test_parts_of_a_constant_shift_have_no_differences() -> None:
    video = torch.rand(1, 3, 5, 4, 4, generator=torch.Generator().manual_seed(0))
    parts = reconstruction_parts(video + 0.5, video)
    values = {name: round(float(part), 5) for name, part in parts.items()}
    expected = {"l1": 0.5, "l2": 0.25, "gradient": 0.0, "texture": 0.0, "temporal": 0.0}
    assert values == expected


def test_texture_misses_contrast_and_not_its_place() -> None:
    noise = torch.rand(1, 3, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    elsewhere = noise.roll((1, 1), dims=(-2, -1))
    blurred = torch.nn.functional.avg_pool3d(noise, (1, 3, 3), stride=1, padding=(0, 1, 1))
    assert float(texture_error(noise, noise)) == 0
    assert float(texture_error(blurred, noise)) > 5 * float(texture_error(elsewhere, noise))


def test_latents_of_zero_mean_and_unit_deviation_cost_nothing() -> None:
    latents = torch.randn(64, 2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    assert float(latent_statistics_distance(latents)) < 1e-3
    assert float(latent_statistics_distance(3 * latents + 1)) == pytest.approx(5.0, rel=0.05)


@pytest.mark.slow
def test_training_improves_reconstructions() -> None:
    task = objective(train_encoder=True, pca_start=False)
    before = task.evaluate()["psnr_db"]
    train(task, 30)
    assert task.evaluate()["psnr_db"] > before + 3


def test_the_pca_start_is_better_than_a_random_one() -> None:
    values = [objective(train_encoder=True, pca_start=pca).evaluate() for pca in (True, False)]
    assert values[0]["psnr_db"] > values[1]["psnr_db"] + 5


def test_a_frozen_encoder_keeps_its_latents_bit_for_bit() -> None:
    task = objective(train_encoder=False)
    video = to_video(smooth_clips(1, 2)[0])
    latents, decoded = task.vae.encode(video), task.vae.decode(task.vae.encode(video))
    train(task, 3)
    assert torch.equal(task.vae.encode(video), latents)
    assert not torch.equal(task.vae.decode(latents), decoded)


def test_a_step_follows_from_its_generator() -> None:
    task = objective(train_encoder=True)
    losses = [task.loss(0, torch.Generator().manual_seed(s))[0].item() for s in (5, 5, 6)]
    assert losses[0] == losses[1] != losses[2]
    assert all(math.isfinite(loss) for loss in losses)


def test_measured_statistics_normalise_the_latents() -> None:
    vae = objective(train_encoder=True).vae
    vae.set_latent_statistics(torch.full((8,), 0.3), torch.full((8,), 2.0))
    videos = [to_video(clip) for clip in smooth_clips(6, 3)]
    vae.set_latent_statistics(*measure_latent_statistics(vae, videos))
    latents = torch.cat([vae.encode(v) for v in videos]).transpose(0, 1).flatten(1)
    assert torch.allclose(latents.mean(dim=1), torch.zeros(8), atol=1e-4)
    assert torch.allclose(latents.std(dim=1), torch.ones(8), atol=1e-3)


def test_it_names_its_clips_and_takes_more_of_them() -> None:
    task = objective(train_encoder=True)
    batch = task.draw(0, torch.Generator().manual_seed(0))
    assert task.names(batch) == [f"training clip {number}" for number in batch.clip_numbers]
    before = task.settings()
    task.add(smooth_clips(1, 9)[0])
    drawn = {
        n
        for seed in range(40)
        for n in task.draw(0, torch.Generator().manual_seed(seed)).clip_numbers
    }
    assert drawn == set(range(9))
    assert task.settings() != before
    assert task.samples_per_step == OBJECTIVE.batch_size


def test_a_discriminator_learns_beside_and_pulls_later() -> None:
    task = objective(train_encoder=False)
    changed = {"adversarial_weight": 0.5, "adversarial_from_step": 1}
    task = VAEObjective(
        task.vae,
        task.config.model_copy(update=changed),
        train=smooth_clips(8, 0),
        held_out=smooth_clips(3, 0),
    )
    told = [task.loss(step, torch.Generator().manual_seed(0))[1] for step in (0, 1)]
    assert ["vae_fooling" in parts for parts in told] == [False, True]
    loss, _ = task.loss(1, torch.Generator().manual_seed(0))
    loss.backward()
    assert all(p.grad is not None for p in task.module.parameters())
    assert all(p.grad is None for p in task.vae.encoder.parameters())
