"""Latents of clips, encoded once for all legs that train on them.

    DATA/latents-DIGEST/CLIP.safetensors   latents [L, C, H, W] in half precision

A leg after the first would else spend its time encoding what the one before encoded. The folder
names the encoder by its weights, so another VAE's latents are never taken. It does not know what
learns from them.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from worldloom.legs.clip_file import StoredClip
from worldloom.model.vae.video_vae import VideoVAE
from worldloom.train.vae_windows import to_video

_LATENTS = "latents"


class EncodedClips:
    """Encodes clips by one VAE, or finds what was encoded by it before."""

    def __init__(self, vae: VideoVAE, data: Path, device: torch.device) -> None:
        """Name the folder by the encoder, whose weights stay as they are."""
        self._vae, self._device = vae, device
        self.folder = data / f"latents-{_digest(vae.encoder.state_dict())}"
        self.folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, clip: StoredClip) -> Float[Tensor, "L C H W"]:
        """Return a clip's latents on the device; a file that cannot be read is written anew."""
        path = self.folder / f"{clip.clip_id}.safetensors"
        if path.is_file():
            with contextlib.suppress(OSError, SafetensorError, KeyError):
                return load_file(path)[_LATENTS].to(self._device)
        with torch.no_grad():
            video = to_video(clip.frames.to(self._device))  # bytes travel, not numbers
            latents: Tensor = self._vae.encode(video)[0].transpose(0, 1).half()
        # Whole or not there; a power cut may take it, since it can be made again.
        partial = path.with_suffix(f".{os.getpid()}.partial")
        save_file({_LATENTS: latents.cpu().contiguous()}, partial)
        partial.replace(path)
        return latents


def _digest(state: dict[str, Tensor]) -> str:
    found = hashlib.sha256()
    for name, value in state.items():
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:12]
