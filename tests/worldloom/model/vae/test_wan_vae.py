"""The Wan2.2 VAE streams what it answers at once, in every precision and layout it is run in."""

from __future__ import annotations

import pytest
import torch
from tiny_wan import WAN_CONFIG, tiny_latents, tiny_video, tiny_wan_vae

from worldloom.model.vae.vae_coder import CoderCache
from worldloom.model.vae.wan_vae import (
    WanVAE,
    WanVAEDecoder,
    WanVAEEncoder,
    fold_pixels,
    unfold_pixels,
)
from worldloom.model.vae.wan_vae_config import WanVAEConfig

VAE = tiny_wan_vae().requires_grad_(requires_grad=False)
MAX_ERROR = 1e-5
# Root mean square error of bfloat16 over the answer's deviation; 0.010 to 0.016 were seen, and
# for the largest error 0.03 to 0.13.
BF16_ERROR = 0.03
BF16_LARGEST_ERROR = 0.25


@pytest.mark.parametrize("chunk_latents", [1, 3, 4])
def test_decoding_in_chunks_is_decoding_at_once(chunk_latents: int) -> None:
    latents = tiny_latents(9, batch=2)
    whole = VAE.decoder(latents)[0]
    cache: CoderCache | None = None
    chunks = []
    for chunk in latents.split(chunk_latents, dim=2):
        video, cache = VAE.decoder(chunk, cache)
        chunks.append(video)
    streamed = torch.cat(chunks, dim=2)
    assert streamed.shape == whole.shape == (2, 3, 33, 32, 64)
    assert float(whole.std()) > 0.1
    assert float((streamed - whole).abs().max()) <= MAX_ERROR


@pytest.mark.parametrize("chunk_latents", [1, 2, 3])
def test_encoding_in_chunks_is_encoding_at_once(chunk_latents: int) -> None:
    video = tiny_video(21, batch=2)
    whole = VAE.encode(video)
    streamed = VAE.encode(video, chunk_latents=chunk_latents)
    assert streamed.shape == whole.shape == (2, 4, 6, 2, 4)
    assert float(whole.std()) > 0.1
    assert float((streamed - whole).abs().max()) <= MAX_ERROR


def test_the_first_latent_is_one_frame_and_each_other_four() -> None:
    first, cache = VAE.decoder(tiny_latents(1))
    assert first.shape[2] == 1
    assert VAE.decoder(tiny_latents(3), cache)[0].shape[2] == 12
    latent, encoder_cache = VAE.encoder(tiny_video(1))
    assert latent.shape[2] == 1
    assert VAE.encoder(tiny_video(8), encoder_cache)[0].shape[2] == 2


def test_past_latents_matter_and_coming_ones_do_not() -> None:
    changed = tiny_latents(4)
    changed[:, :, 2] += 1
    difference = (VAE.decoder(changed)[0] - VAE.decoder(tiny_latents(4))[0]).abs()
    by_frame = difference.amax((0, 1, 3, 4))
    assert by_frame[:5].max() == 0
    assert by_frame[5:].min() > 1e-4


def test_every_cache_has_the_shapes_of_the_first() -> None:
    caches: list[CoderCache] = []
    for _ in range(3):
        caches.append(VAE.decoder(tiny_latents(1), caches[-1] if caches else None)[1])
    shapes = [{name: t.shape for name, t in cache.features.items()} for cache in caches]
    assert shapes[0] == shapes[1] == shapes[2]
    assert len(shapes[0]) == 32  # as many slots as the published decoder's cache


def test_a_call_leaves_no_state_in_the_module() -> None:
    state = {name: value.clone() for name, value in VAE.state_dict().items()}
    once = VAE.decode(tiny_latents(2))
    VAE.decode(tiny_latents(3, seed=9))
    assert torch.equal(VAE.decode(tiny_latents(2)), once)
    assert all(torch.equal(value, state[name]) for name, value in VAE.state_dict().items())


def test_a_cache_can_be_used_twice() -> None:
    _, cache = VAE.decoder(tiny_latents(2))
    first, _ = VAE.decoder(tiny_latents(1, seed=5), cache)
    again, _ = VAE.decoder(tiny_latents(1, seed=5), cache)
    assert torch.equal(first, again)


@pytest.mark.slow
@pytest.mark.skipif(
    hasattr(WanVAEDecoder.forward, "__wrapped__"),
    reason="shape checks are on, and a compiled graph cannot hold them",
)
def test_compiled_whole_and_in_channels_last_the_answer_is_the_same() -> None:
    decoder = tiny_wan_vae().decoder
    decoder.lay_channels_last()
    compiled = torch.compile(decoder, backend="eager", fullgraph=True, dynamic=False)
    latents = tiny_latents(3).contiguous(memory_format=torch.channels_last_3d)
    with torch.no_grad(), torch._dynamo.config.patch(error_on_recompile=True):
        first, cache = decoder(latents[:, :, :1])
        second, cache = compiled(latents[:, :, 1:2], cache)
        third, _ = compiled(latents[:, :, 2:], cache)
    streamed = torch.cat([first, second, third], dim=2)
    assert float((streamed - VAE.decoder(latents)[0]).abs().max()) <= MAX_ERROR


def test_half_precision_stays_within_its_bound() -> None:
    half = tiny_wan_vae().to(torch.bfloat16).requires_grad_(requires_grad=False)
    latents, video = tiny_latents(4), tiny_video(13)
    for exact, answer in [
        (VAE.decoder(latents)[0], half.decoder(latents.bfloat16())[0]),
        (VAE.encode(video), half.encode(video.bfloat16())),
    ]:
        assert answer.dtype == torch.bfloat16
        error = (answer.float() - exact) / exact.std()
        assert 0 < float(error.square().mean().sqrt()) <= BF16_ERROR
        assert float(error.abs().max()) <= BF16_LARGEST_ERROR


def test_gradients_reach_every_parameter() -> None:
    vae = tiny_wan_vae()
    vae.decode(vae.encode(tiny_video(9))).square().mean().backward()
    silent = [
        name
        for name, parameter in vae.named_parameters()
        if parameter.grad is None or not float(parameter.grad.abs().sum()) > 0
    ]
    assert silent == []


def test_statistics_normalise_and_are_no_weights() -> None:
    config = WAN_CONFIG.model_copy(update={"latent_mean": (0.0,) * 4, "latent_std": (1.0,) * 4})
    raw = WanVAEEncoder(config)
    raw.load_state_dict(VAE.encoder.state_dict())
    mean = torch.tensor(WAN_CONFIG.latent_mean)[:, None, None, None]
    std = torch.tensor(WAN_CONFIG.latent_std)[:, None, None, None]
    latents = VAE.encode(tiny_video(5))
    assert torch.allclose(raw(tiny_video(5))[0], latents * std + mean, atol=1e-5)
    decoder = WanVAEDecoder(config)
    decoder.load_state_dict(VAE.decoder.state_dict())
    assert torch.allclose(decoder(latents * std + mean)[0], VAE.decoder(latents)[0], atol=1e-5)
    assert not [name for name in VAE.state_dict() if "latent_" in name.split(".")[-1]]


def test_squares_of_pixels_fold_by_colour_column_and_row() -> None:
    video = tiny_video(2)
    folded = fold_pixels(video, 2)
    assert torch.equal(folded[:, 4 * 1 + 2 * 1 + 0], video[:, 1, :, 0::2, 1::2])
    assert torch.equal(unfold_pixels(folded, 2), video)


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        ((1, 3, 5, 32, 48), r"\(1, 3, 5, 32, 48\): expected .* multiples of 32 pixels"),
        ((1, 3, 5, 16, 32), "multiples of 32 pixels"),
        ((1, 3, 6, 32, 32), r"F = 4n\+1 \(from frame 0 on\)"),
        ((1, 4, 5, 32, 32), r"expected \[B, 3, F, height, width\]"),
    ],
)
def test_videos_that_do_not_fit_are_refused(shape: tuple[int, ...], sentence: str) -> None:
    with torch.device("meta"):
        encoder = WanVAEEncoder(WanVAEConfig())
        video = torch.empty(shape)
    with pytest.raises(ValueError, match=sentence):
        encoder(video)


def test_frames_after_frame_0_come_in_fours() -> None:
    _, cache = VAE.encoder(tiny_video(1))
    with pytest.raises(ValueError, match=r"F = 4n \(after frame 0\)"):
        VAE.encoder(tiny_video(5), cache)


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        ((1, 16, 1, 2, 2), r"\(1, 16, 1, 2, 2\): expected \[B, 48, T, H, W\]"),
        ((1, 48, 1, 3, 2), r"H and W multiples of 2 \(32 pixels\)"),
        ((1, 48, 0, 2, 2), "T at least 1"),
    ],
)
def test_latents_that_do_not_fit_are_refused(shape: tuple[int, ...], sentence: str) -> None:
    with torch.device("meta"):
        decoder = WanVAEDecoder(WanVAEConfig())
        latents = torch.empty(shape)
    with pytest.raises(ValueError, match=sentence):
        decoder(latents)


def test_chunks_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="chunk_latents=0: expected at least 1"):
        VAE.decode(tiny_latents(2), chunk_latents=0)


def test_halves_of_different_latents_are_not_joined() -> None:
    other = WAN_CONFIG.model_copy(update={"latent_mean": (0.0,) * 4})
    with pytest.raises(ValueError, match="expected the encoder's"):
        WanVAE(VAE.encoder, WanVAEDecoder(other))
    lighter = WanVAEDecoder(WAN_CONFIG.model_copy(update={"decoder_removed": 0.5}))
    assert WanVAE(VAE.encoder, lighter).config.decoder_removed == 0.5


@pytest.mark.slow
@torch.no_grad()
def test_the_latents_that_it_can_look_back_on_leave_the_decoders_whole_cache():
    decoder = tiny_wan_vae().decoder
    reach = decoder.num_past_latents
    latents = tiny_latents(reach + 4)
    _, whole = decoder(latents)
    _, recent = decoder(latents[:, :, -(reach + 1) :])
    for name, features in whole.features.items():
        torch.testing.assert_close(recent.features[name], features, atol=1e-5, rtol=1e-5)
    _, too_few = decoder(latents[:, :, -2:])
    assert any(
        not torch.allclose(too_few.features[name], features, atol=1e-2)
        for name, features in whole.features.items()
    )
