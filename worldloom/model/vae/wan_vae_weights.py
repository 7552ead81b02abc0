"""The public Wan2.2 VAE's weights: read from and written to safetensors under the public names.

Our names are the public ones, but for each half's pointwise convolution, which stands inside the
half here. A light decoder's file may hold another encoder: a half reads its own part alone. How a
file is compared, mapped and assigned is `load_weights`' business, what layers do is `wan_vae`'s.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import save_file

from worldloom.errors import ArtifactError
from worldloom.model.vae.wan_vae import WanVAE, WanVAEDecoder, WanVAEEncoder
from worldloom.model.vae.wan_vae_config import WanVAEConfig
from worldloom.model.weights.load_weights import load_weights
from worldloom.model.weights.weight_names import NameMap, NameRule

_OF_ENCODER = NameMap(
    NameRule("conv1.*", "to_latent.*"),
    NameRule("encoder.*", "*"),
    NameRule("decoder.*", None),
    NameRule("conv2.*", None),
)
_OF_DECODER = NameMap(
    NameRule("conv2.*", "from_latent.*"),
    NameRule("decoder.*", "*"),
    NameRule("encoder.*", None),
    NameRule("conv1.*", None),
)
_TO_PUBLIC = {"encoder.to_latent.": "conv1.", "decoder.from_latent.": "conv2."}
_Half = TypeVar("_Half", WanVAEEncoder, WanVAEDecoder)
_PICKLES = {".bin", ".ckpt", ".pkl", ".pt", ".pth"}


def load_wan_vae(
    path: Path,
    config: WanVAEConfig,
    *,
    decoder_path: Path | None = None,
    dtype: torch.dtype | None = None,
) -> WanVAE:
    """Read both halves, in evaluation mode on the CPU.

    Args:
        path: the full VAE's safetensors file.
        config: the shapes to expect; `decoder_removed` is the decoder's.
        decoder_path: another file for the decoder (a light one); None means `path`.
        dtype: precision of the weights; None keeps the file's, mapped and not copied.

    Raises:
        ArtifactError: for a pickle, a file that cannot be read, or one that does not fit: every
            missing, extra or misshaped tensor is named.
    """
    full = config.model_copy(update={"decoder_removed": 0.0})
    encoder = load_wan_encoder(path, full, dtype=dtype)
    return WanVAE(encoder, load_wan_decoder(decoder_path or path, config, dtype=dtype))


def load_wan_encoder(
    path: Path, config: WanVAEConfig, *, dtype: torch.dtype | None = None
) -> WanVAEEncoder:
    """Read the encoder's part of a file; arguments and errors are those of `load_wan_vae`."""
    return _load_half(WanVAEEncoder, path, config, _OF_ENCODER, dtype)


def load_wan_decoder(
    path: Path, config: WanVAEConfig, *, dtype: torch.dtype | None = None
) -> WanVAEDecoder:
    """Read the decoder's part of a file; arguments and errors are those of `load_wan_vae`."""
    return _load_half(WanVAEDecoder, path, config, _OF_DECODER, dtype)


def _load_half(
    kind: type[_Half], path: Path, config: WanVAEConfig, rename: NameMap, dtype: torch.dtype | None
) -> _Half:
    """Build a half without memory and assign it its part of a file."""
    _refuse_pickle(path)
    with torch.device("meta"):
        half = kind(config)
    half.reset_statistics()
    load_weights(half, path, rename=rename, dtype=dtype)
    return half.eval()


def save_wan_weights(
    path: Path, module: WanVAE | WanVAEEncoder | WanVAEDecoder, *, dtype: torch.dtype
) -> None:
    """Write a VAE or a half under the public names."""
    prefix = {WanVAE: "", WanVAEEncoder: "encoder.", WanVAEDecoder: "decoder."}[type(module)]
    state = {
        public_name(prefix + name): value.detach().to("cpu", dtype).contiguous().clone()
        for name, value in sorted(module.state_dict().items())
    }
    save_file(state, path)


def public_name(name: str) -> str:
    """Return the public name of a parameter of `WanVAE`."""
    for ours, theirs in _TO_PUBLIC.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return name


def _refuse_pickle(path: Path) -> None:
    if path.suffix in _PICKLES:
        message = (
            f"{path}: a pickle, which is never loaded, expected safetensors: convert it once, "
            "where you trust its source, with torch.load(path, weights_only=True) and "
            "safetensors.torch.save_file"
        )
        raise ArtifactError(message)
