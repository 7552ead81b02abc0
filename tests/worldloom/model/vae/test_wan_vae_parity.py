"""Our streaming VAE answers what a whole-sequence transcription of the public one answers.

Weights go by their public names, in float64 throughout; the statistics of the latents are binary
fractions, since a module holds them in float32.
"""

from __future__ import annotations

from functools import cache

import pytest
import torch
from tiny_wan import tiny_latents, tiny_video, tiny_wan_vae
from wan_vae_reference import Weights, decode, encode

from worldloom.model.vae.wan_vae import WanVAE
from worldloom.model.vae.wan_vae_config import WanVAEConfig
from worldloom.model.vae.wan_vae_weights import public_name

MAX_ERROR = 1e-9
NUM_NAMES = 196
MEAN, DEVIATION = (0.125, -0.25, 0.0, 0.375), (0.5, 1.0, 2.0, 0.75)
CONFIG = WanVAEConfig(
    latent_channels=4,
    latent_mean=MEAN,
    latent_std=DEVIATION,
    encoder_width=8,
    decoder_width=8,
)
STATISTICS = (torch.tensor(MEAN).double(), torch.tensor(DEVIATION).double())

removed = pytest.mark.parametrize("decoder_removed", [0.0, 0.5], ids=["full", "half"])
frames = pytest.mark.parametrize("num_frames", [1, 5, 17])
chunks = pytest.mark.parametrize("chunk_latents", [None, 1, 2])


@cache
def vae(decoder_removed: float = 0.0) -> WanVAE:
    config = CONFIG.model_copy(update={"decoder_removed": decoder_removed})
    return tiny_wan_vae(config).double().requires_grad_(requires_grad=False)


def weights(model: WanVAE) -> Weights:
    return Weights({public_name(name): value for name, value in model.state_dict().items()})


def decoded(model: WanVAE, latents: torch.Tensor, chunk_latents: int | None) -> torch.Tensor:
    """Return what the decoder streams, before values are clamped to pixels."""
    past, videos = None, []
    for chunk in latents.split(chunk_latents or latents.shape[2], dim=2):
        video, past = model.decoder(chunk, past)
        videos.append(video)
    return torch.cat(videos, dim=2)


@frames
@chunks
def test_the_encoder_streams_what_the_public_one_answers(num_frames, chunk_latents) -> None:
    video = tiny_video(num_frames, batch=2).double()
    expected = encode(weights(vae()), video, *STATISTICS)
    found = vae().encode(video, chunk_latents=chunk_latents)
    assert found.dtype == torch.float64
    assert found.shape == expected.shape == (2, 4, 1 + num_frames // 4, 2, 4)
    assert float(expected.std()) > 0.1
    torch.testing.assert_close(found, expected, rtol=0, atol=MAX_ERROR)


@pytest.mark.slow
@removed
@frames
@chunks
def test_the_decoder_streams_what_the_public_one_answers(
    num_frames, chunk_latents, decoder_removed
) -> None:
    model = vae(decoder_removed)
    latents = tiny_latents(1 + num_frames // 4, batch=2).double()
    expected = decode(weights(model), latents, *STATISTICS)
    found = decoded(model, latents, chunk_latents)
    assert found.dtype == torch.float64
    assert found.shape == expected.shape == (2, 3, num_frames, 32, 64)
    assert float(expected.std()) > 0.1
    torch.testing.assert_close(found, expected, rtol=0, atol=MAX_ERROR)


@removed
def test_each_public_weight_is_used_once(decoder_removed) -> None:
    of_both = weights(vae(decoder_removed))
    video = tiny_video(5).double()
    latents = encode(of_both, video, *STATISTICS)
    decode(of_both, latents, *STATISTICS)
    assert set(of_both.used.values()) == {1}
    names = {public_name(name) for name in vae(decoder_removed).state_dict()}
    assert set(of_both.used) == names
    assert len(names) == NUM_NAMES


def test_a_light_decoder_has_half_the_channels_and_the_encoder_all() -> None:
    full, half = vae().state_dict(), vae(0.5).state_dict()
    name = "decoder.middle.0.residual.2.weight"
    assert half[name].shape[:2] == (16, 16)
    assert full[name].shape[:2] == (32, 32)
    assert all(full[name].shape == half[name].shape for name in full if name.startswith("encoder."))
