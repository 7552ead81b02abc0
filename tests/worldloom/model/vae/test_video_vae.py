"""The video VAE: causal, its streams equal the whole, files that come back or say why not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from worldloom.errors import ArtifactError
from worldloom.model.vae.video_vae import (
    DecoderCache,
    VAEConfig,
    VAEDecoder,
    VideoVAE,
    load_decoder,
    load_encoder,
    load_vae,
    save_decoder,
    save_encoder,
    save_vae,
)

TINY = VAEConfig(
    latent_channels=6, encoder_widths=(8, 8, 12), decoder_widths=(12, 8, 8), decoder_blocks=2
)


def vae_with_weights(config: VAEConfig = TINY) -> VideoVAE:
    vae = VideoVAE(config)
    generator = torch.Generator().manual_seed(1)
    for parameter in vae.parameters():
        torch.nn.init.normal_(parameter, std=0.1, generator=generator)
    generator.manual_seed(2)
    mean = torch.randn(config.latent_channels, generator=generator)
    vae.set_latent_statistics(mean, mean.abs() + 0.5)
    return vae.eval().requires_grad_(requires_grad=False)


def video(num_frames: int = 13) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.rand(2, 3, num_frames, 16, 24, generator=generator) * 2 - 1


@pytest.mark.parametrize(("num_frames", "num_latents"), [(1, 1), (5, 2), (13, 4)])
def test_four_frames_make_a_latent_and_the_first_stands_alone(
    num_frames: int, num_latents: int
) -> None:
    vae = vae_with_weights()
    latents = vae.encode(video(num_frames))
    assert latents.shape == (2, 6, num_latents, 2, 3)
    assert vae.decode(latents).shape == video(num_frames).shape


def test_other_frame_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="4n\\+1"):
        vae_with_weights().encode(video(4))


def test_streamed_decode_equals_the_whole() -> None:
    decoder = vae_with_weights().decoder
    latents = torch.randn(2, 6, 7, 2, 3, generator=torch.Generator().manual_seed(4))
    whole, _ = decoder(latents)
    cache: DecoderCache | None = None
    parts = []
    for chunk in latents.split([1, 3, 1, 2], dim=2):
        part, cache = decoder(chunk, cache)
        parts.append(part)
    assert [part.shape[2] for part in parts] == [1, 12, 4, 8]
    assert torch.allclose(torch.cat(parts, dim=2), whole, atol=1e-5)


@pytest.mark.parametrize("kernel", [1, 2])
def test_streamed_encode_equals_the_whole(kernel: int) -> None:
    config = TINY.model_copy(update={"encoder_temporal_kernel": kernel})
    encoder = vae_with_weights(config).encoder
    whole, _ = encoder(video())
    first, cache = encoder(video()[:, :, :5])
    rest, _ = encoder(video()[:, :, 5:], cache)
    assert torch.allclose(torch.cat([first, rest], dim=2), whole, atol=1e-5)


def test_no_latent_depends_on_later_frames() -> None:
    config = TINY.model_copy(update={"encoder_temporal_kernel": 3})
    vae = vae_with_weights(config)
    changed = video()
    changed[:, :, 5:] *= -1
    before, after = vae.encode(video()), vae.encode(changed)
    assert torch.equal(before[:, :, :2], after[:, :, :2])
    assert not torch.allclose(before[:, :, 2], after[:, :, 2])


def test_no_frame_depends_on_later_latents() -> None:
    vae = vae_with_weights()
    latents = vae.encode(video())
    changed = latents.clone()
    changed[:, :, 2:] += 1
    before, after = vae.decode(latents), vae.decode(changed)
    assert torch.equal(before[:, :, :5], after[:, :, :5])


def test_a_latent_is_the_same_wherever_it_stands_by_default() -> None:
    vae = vae_with_weights()
    shifted, _ = vae.encoder(video()[:, :, 5:9], vae.encoder(video(1))[1])
    assert torch.allclose(shifted, vae.encode(video())[:, :, 2:3], atol=1e-6)


def test_statistics_normalise_latents_and_are_undone() -> None:
    vae = vae_with_weights()
    vae.set_latent_statistics(torch.zeros(6), torch.ones(6))
    raw = vae.encode(video())
    mean = raw.transpose(0, 1).flatten(1).mean(dim=1)
    std = raw.transpose(0, 1).flatten(1).std(dim=1)
    decoded = vae.decode(raw)
    vae.set_latent_statistics(mean, std)
    latents = vae.encode(video())
    assert torch.allclose(latents.transpose(0, 1).flatten(1).std(dim=1), torch.ones(6), atol=1e-4)
    assert torch.allclose(vae.decode(latents), decoded, atol=1e-4)


def test_stages_that_do_not_divide_the_stride_are_refused() -> None:
    with pytest.raises(ValueError, match="spatial_stride=4"):
        VAEConfig(spatial_stride=4, encoder_widths=(8, 8, 8, 8))


def test_saved_parts_come_back(tmp_path: Path) -> None:
    vae = vae_with_weights()
    save_vae(tmp_path, vae, dtype=torch.float32)
    save_encoder(tmp_path, vae.encoder, dtype=torch.float32)
    save_decoder(tmp_path, vae.decoder, dtype=torch.float32)
    latents = vae.encode(video())
    again = load_vae(tmp_path)
    assert torch.equal(again.encode(video()), latents)
    assert torch.equal(load_encoder(tmp_path)(video())[0], latents)
    assert torch.equal(load_decoder(tmp_path)(latents)[0], again.decoder(latents)[0])


def test_a_missing_or_foreign_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"vae\.json: missing"):
        load_vae(tmp_path)
    save_vae(tmp_path, vae_with_weights())
    state = load_file(tmp_path / "vae.safetensors")
    save_file(state | {"extra": torch.zeros(1)}, tmp_path / "vae.safetensors")
    with pytest.raises(ArtifactError, match="extra"):
        load_vae(tmp_path)
    tmp_path.joinpath("vae.safetensors").write_bytes(b"nothing")
    with pytest.raises(ArtifactError, match="cannot be read"):
        load_vae(tmp_path)


@torch.no_grad()
def test_the_latents_that_it_can_look_back_on_leave_the_decoders_whole_cache():
    torch.manual_seed(0)
    config = VAEConfig(decoder_widths=(8, 8), encoder_widths=(8, 8), decoder_temporal_kernel=3)
    decoder = VAEDecoder(config)
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    latents = torch.randn(1, config.latent_channels, 9, 4, 4)
    _, whole = decoder(latents)
    reach = decoder.num_past_latents
    assert reach == 4  # two convolutions that look back two latents each
    _, recent = decoder(latents[:, :, -(reach + 1) :])
    _, too_few = decoder(latents[:, :, -2:])
    for name, features in whole.features.items():
        torch.testing.assert_close(recent.features[name], features)
    assert any(
        not torch.allclose(too_few.features[name], features)
        for name, features in whole.features.items()
    )


def test_halves_in_half_precision_take_frames_and_latents_in_full() -> None:
    vae = VideoVAE(VAEConfig()).to(torch.bfloat16)
    with torch.no_grad():
        latents, _ = vae.encoder(torch.zeros(1, 3, 5, 32, 32))
        video, _ = vae.decoder(latents.float())
    assert (latents.dtype, video.dtype) == (torch.bfloat16, torch.bfloat16)
