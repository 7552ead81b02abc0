"""Weights under the public names: strict, mapped, half by half, and never a pickle."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_wan import WAN_CONFIG, randomise, tiny_latents, tiny_video, tiny_wan_vae

from worldloom.errors import ArtifactError
from worldloom.model.vae.wan_vae import WanVAE, WanVAEDecoder
from worldloom.model.vae.wan_vae_config import WanVAEConfig
from worldloom.model.vae.wan_vae_weights import (
    load_wan_decoder,
    load_wan_encoder,
    load_wan_vae,
    public_name,
    save_wan_weights,
)

Shapes = dict[str, tuple[int, ...]]


def conv(name: str, num_in: int, num_out: int, *kernel: int) -> Shapes:
    return {f"{name}.weight": (num_out, num_in, *kernel), f"{name}.bias": (num_out,)}


def block(name: str, num_in: int, num_out: int) -> Shapes:
    shapes = {f"{name}.residual.0.gamma": (num_in, 1, 1, 1)}
    shapes |= conv(f"{name}.residual.2", num_in, num_out, 3, 3, 3)
    shapes |= {f"{name}.residual.3.gamma": (num_out, 1, 1, 1)}
    shapes |= conv(f"{name}.residual.6", num_out, num_out, 3, 3, 3)
    return shapes | (
        conv(f"{name}.shortcut", num_in, num_out, 1, 1, 1) if num_in != num_out else {}
    )


def middle_and_head(name: str, width: tuple[int, int], num_out: int) -> Shapes:
    shapes = block(f"{name}.middle.0", width[0], width[0]) | block(
        f"{name}.middle.2", width[0], width[0]
    )
    shapes |= {f"{name}.middle.1.norm.gamma": (width[0], 1, 1)}
    shapes |= conv(f"{name}.middle.1.to_qkv", width[0], 3 * width[0], 1, 1)
    shapes |= conv(f"{name}.middle.1.proj", width[0], width[0], 1, 1)
    shapes |= {f"{name}.head.0.gamma": (width[1], 1, 1, 1)}
    return shapes | conv(f"{name}.head.2", width[1], num_out, 3, 3, 3)


def stages(name: str, widths: list[int], blocks: int, time: list[int | None]) -> Shapes:
    inner = name.rpartition(".")[2]
    shapes: Shapes = {}
    for i in range(4):
        width = widths[i]
        for j in range(blocks):
            shapes |= block(f"{name}.{i}.{inner}.{j}", width, widths[i + 1])
            width = widths[i + 1]
        last = f"{name}.{i}.{inner}.{blocks}"
        if i < 3:
            shapes |= conv(f"{last}.resample.1", width, width, 3, 3)
        if time[i]:
            shapes |= conv(f"{last}.time_conv", width, time[i] * width, 3, 1, 1)
    return shapes


def public_shapes(latent: int, encoder: int, decoder: int) -> Shapes:
    """Return names and shapes as in the published file, written down apart from our modules."""
    down = [encoder * factor for factor in (1, 1, 2, 4, 4)]
    up = [decoder * factor for factor in (4, 4, 4, 2, 1)]
    shapes = conv("encoder.conv1", 12, down[0], 3, 3, 3)
    shapes |= stages("encoder.downsamples", down, 2, [None, 1, 1, None])
    shapes |= middle_and_head("encoder", (down[-1], down[-1]), 2 * latent)
    shapes |= conv("conv1", 2 * latent, 2 * latent, 1, 1, 1) | conv(
        "conv2", latent, latent, 1, 1, 1
    )
    shapes |= conv("decoder.conv1", latent, up[0], 3, 3, 3)
    shapes |= stages("decoder.upsamples", up, 3, [2, 2, None, None])
    return shapes | middle_and_head("decoder", (up[0], up[-1]), 12)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of the published names at tiny width."""
    generator = torch.Generator().manual_seed(0)
    state = {
        name: torch.randn(shape, generator=generator) / max(1, shape[-1] * shape[0]) ** 0.5
        for name, shape in public_shapes(4, 8, 8).items()
    }
    path = tmp_path_factory.mktemp("public") / "wan2.2_vae.safetensors"
    save_file(state, path)
    return path


def rewritten(checkpoint: Path, folder: Path, **changes: torch.Tensor | None) -> Path:
    """Copy the file with tensors replaced or, where None is given, left out."""
    state = load_file(checkpoint)
    for name, value in changes.items():
        state.pop(name, None)
        if value is not None:
            state[name] = value
    save_file(state, folder / "changed.safetensors")
    return folder / "changed.safetensors"


def test_the_published_names_and_shapes_are_ours() -> None:
    with torch.device("meta"):
        vae = WanVAE.from_config(WanVAEConfig())
    ours = {public_name(name): tuple(value.shape) for name, value in vae.state_dict().items()}
    assert ours == public_shapes(48, 160, 256)


def test_every_tensor_arrives_at_its_place(checkpoint: Path) -> None:
    vae = load_wan_vae(checkpoint, WAN_CONFIG)
    state = load_file(checkpoint)
    loaded = {public_name(name): value for name, value in vae.state_dict().items()}
    assert loaded.keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in loaded.items())
    assert all(parameter.requires_grad for parameter in vae.parameters())
    assert torch.isfinite(vae.decode(vae.encode(tiny_video(5)))).all()


def test_another_precision_is_the_callers_choice(checkpoint: Path) -> None:
    decoder = load_wan_decoder(checkpoint, WAN_CONFIG, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in decoder.parameters()} == {torch.bfloat16}
    assert decoder(tiny_latents(2))[0].dtype == torch.bfloat16


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    vae = tiny_wan_vae()
    path = tmp_path / "vae.safetensors"
    save_wan_weights(path, vae, dtype=torch.float32)
    again = load_wan_vae(path, WAN_CONFIG)
    assert torch.equal(again.decode(tiny_latents(2)), vae.decode(tiny_latents(2)))


def test_a_light_decoder_joins_the_full_encoder(checkpoint: Path, tmp_path: Path) -> None:
    light = WAN_CONFIG.model_copy(update={"decoder_removed": 0.5})
    path = tmp_path / "light.safetensors"
    decoder = randomise(WanVAEDecoder(light))
    save_wan_weights(path, decoder, dtype=torch.float32)
    vae = load_wan_vae(checkpoint, light, decoder_path=path)
    full = load_wan_encoder(checkpoint, WAN_CONFIG)
    assert torch.equal(vae.encode(tiny_video(5)), full(tiny_video(5))[0])
    assert torch.equal(vae.decoder(tiny_latents(2))[0], decoder(tiny_latents(2))[0])


def test_a_decoder_is_read_beside_an_encoder_of_other_shapes(
    checkpoint: Path, tmp_path: Path
) -> None:
    path = rewritten(checkpoint, tmp_path, **{"encoder.conv1.bias": torch.zeros(3)})
    load_wan_decoder(path, WAN_CONFIG)
    with pytest.raises(ArtifactError, match=r"encoder.conv1.bias is \[3\], expected \[8\]"):
        load_wan_encoder(path, WAN_CONFIG)


def test_every_fault_is_named(checkpoint: Path, tmp_path: Path) -> None:
    path = rewritten(
        checkpoint,
        tmp_path,
        **{
            "decoder.head.2.bias": None,
            "decoder.middle.0.residual.0.gamma": torch.ones(5, 1, 1, 1),
            "decoder.middle.3.residual.0.gamma": torch.ones(8),
            "ema.decay": torch.ones(1),
        },
    )
    with pytest.raises(ArtifactError) as caught:
        load_wan_decoder(path, WAN_CONFIG)
    message = str(caught.value)
    assert "1 missing: head.2.bias" in message
    assert "2 extra: decoder.middle.3.residual.0.gamma, ema.decay" in message
    assert "decoder.middle.0.residual.0.gamma is [5, 1, 1, 1], expected [32, 1, 1, 1]" in message


def test_a_checkpoint_of_another_width_is_refused(checkpoint: Path) -> None:
    with pytest.raises(ArtifactError, match="misshaped"):
        load_wan_vae(checkpoint, WAN_CONFIG.model_copy(update={"decoder_removed": 0.5}))


@pytest.mark.parametrize("name", ["Wan2.2_VAE.pth", "MG-LightVAE.pt"])
def test_a_pickle_is_refused_unread_and_its_conversion_named(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    torch.save({"conv1.bias": torch.zeros(1)}, path)
    with pytest.raises(ArtifactError, match=r"a pickle, which is never loaded.*save_file"):
        load_wan_vae(path, WAN_CONFIG)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "vae.safetensors"
    path.write_bytes(b"no tensors")
    with pytest.raises(ArtifactError, match="safetensors"):
        load_wan_vae(path, WAN_CONFIG)
