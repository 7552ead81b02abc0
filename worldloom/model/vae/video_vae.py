"""The causal video VAE: 4 frames of 8x8 pixels become one latent vector, frame 0 stands alone.

Frame 0 is repeated four times, so every latent is made of four frames, and the first latent
decodes to its last frame only: F = 1 + 4 (T - 1). By default the encoder looks at a latent's own
frames alone, so that a latent means the same wherever it stands in a stream; the decoder looks
back. The linear shortcuts of both (over 4 x 8 x 8 x 3 values, started by PCA: see `vae_init`) play
the part of Wan2.2's AvgDown and DupUp. Latents leave the encoder with unit standard deviation per
channel by stored buffers; there is no sampling. It does not know the diffusion model, nor how the
VAE is trained.
"""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from worldloom.config import load_config
from worldloom.errors import ArtifactError
from worldloom.frames import num_latent_frames
from worldloom.model.vae.vae_coder import (
    CoderCache,
    DecoderCache,
    EncoderCache,
    VAEDecoder,
    VAEEncoder,
)
from worldloom.model.vae.vae_config import VAEConfig

__all__ = [
    "CoderCache",
    "DecoderCache",
    "EncoderCache",
    "VAEConfig",
    "VAEDecoder",
    "VAEEncoder",
    "VideoVAE",
    "load_decoder",
    "load_encoder",
    "load_vae",
    "save_decoder",
    "save_encoder",
    "save_vae",
]


class VideoVAE(nn.Module):
    """Encoder and decoder with one latent normalisation."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = VAEEncoder(config)
        self.decoder = VAEDecoder(config)

    def encode(self, video: Float[Tensor, "B RGB F Y X"]) -> Float[Tensor, "B C T H W"]:
        """Encode 4n+1 frames `[B, 3, F, H, W]` in [-1, 1] to latents `[B, C, T, h, w]`."""
        num_latent_frames(video.shape[2])
        latents: Tensor = self.encoder(video)[0]
        return latents

    def decode(self, latents: Float[Tensor, "B C T H W"]) -> Float[Tensor, "B RGB F Y X"]:
        """Decode latents `[B, C, T, h, w]` to 4 (T - 1) + 1 frames in [-1, 1]."""
        video: Tensor = self.decoder(latents)[0]
        return video.clamp(-1, 1)

    def set_latent_statistics(self, mean: Float[Tensor, " C"], std: Float[Tensor, " C"]) -> None:
        """Store the raw latents' mean and standard deviation `[C]` that normalise them."""
        for half in (self.encoder, self.decoder):
            half.latent_mean.copy_(mean)
            half.latent_std.copy_(std)


def save_vae(folder: Path, vae: VideoVAE, *, dtype: torch.dtype = torch.float16) -> None:
    """Write `vae.json` and `vae.safetensors` into an existing folder."""
    _save(folder, "vae", vae, vae.config, dtype)


def save_encoder(folder: Path, encoder: VAEEncoder, *, dtype: torch.dtype = torch.float16) -> None:
    """Write `encoder.json` and `encoder.safetensors` into an existing folder."""
    _save(folder, "encoder", encoder, encoder.config, dtype)


def save_decoder(folder: Path, decoder: VAEDecoder, *, dtype: torch.dtype = torch.float16) -> None:
    """Write `decoder.json` and `decoder.safetensors` into an existing folder."""
    _save(folder, "decoder", decoder, decoder.config, dtype)


def load_vae(folder: Path) -> VideoVAE:
    """Read what `save_vae` wrote, as float32 on the CPU, in evaluation mode.

    Raises:
        ArtifactError: when a file is missing or its tensors do not fit the configuration.
    """
    vae = VideoVAE(_load_config(folder, "vae"))
    _load_weights(folder, "vae", vae)
    return vae.eval()


def load_encoder(folder: Path) -> VAEEncoder:
    """Read what `save_encoder` wrote; raises `ArtifactError` like `load_vae`."""
    encoder = VAEEncoder(_load_config(folder, "encoder"))
    _load_weights(folder, "encoder", encoder)
    return encoder.eval()


def load_decoder(folder: Path) -> VAEDecoder:
    """Read what `save_decoder` wrote; raises `ArtifactError` like `load_vae`."""
    decoder = VAEDecoder(_load_config(folder, "decoder"))
    _load_weights(folder, "decoder", decoder)
    return decoder.eval()


def _save(
    folder: Path, stem: str, module: nn.Module, config: VAEConfig, dtype: torch.dtype
) -> None:
    folder.joinpath(f"{stem}.json").write_text(config.model_dump_json() + "\n")
    state = {
        name: value.detach().to("cpu", dtype).contiguous().clone()
        for name, value in sorted(module.state_dict().items())
    }
    save_file(state, folder / f"{stem}.safetensors")


def _load_config(folder: Path, stem: str) -> VAEConfig:
    path = folder / f"{stem}.json"
    if not path.is_file():
        message = f"{path}: missing, expected the shapes of a stored {stem}"
        raise ArtifactError(message)
    return load_config(VAEConfig, path.read_text(), where=path.name)


def _load_weights(folder: Path, stem: str, module: nn.Module) -> None:
    path = folder / f"{stem}.safetensors"
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        message = f"{path}: cannot be read ({error}), expected the weights of a stored {stem}"
        raise ArtifactError(message) from error
    expected = module.state_dict()
    for name in sorted(expected.keys() | state.keys()):
        here = tuple(expected[name].shape) if name in expected else "no such tensor"
        there = tuple(state[name].shape) if name in state else "no such tensor"
        if here != there:
            message = f"{path}: {name} is {there}, the configuration expects {here}"
            raise ArtifactError(message)
    module.load_state_dict({name: value.float() for name, value in state.items()})
