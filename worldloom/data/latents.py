"""Clips as latents: what the transformer learns from, in one safetensors file a split.

A latent artifact is valid only with the VAE that made it. All clips of a split have one length.
It does not know the VAE, nor how latents are conditioned.

Letters: N clips, L latents, C channels, H W rows and columns, F = 4 (L - 1) + 1 pixel frames.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from worldloom.camera import Intrinsics
from worldloom.data.schema import Split
from worldloom.errors import ArtifactError, DataError
from worldloom.frames import num_pixel_frames

_HEADER = "worldloom"


@dataclass(frozen=True)
class LatentClips:
    """The latents of N clips with what was recorded beside them."""

    latents: Tensor  # [N, L, C, H, W] float16
    poses: Tensor  # [N, F, 4, 4] float32, camera to world, metres
    keyboard: Tensor  # [N, F, keys] float32
    mouse: Tensor  # [N, F, axes] float32
    prompts: list[str]
    clip_ids: list[str]
    sources: list[str]
    intrinsics: Intrinsics
    frame_size: tuple[int, int]  # height, width in pixels

    def __post_init__(self) -> None:
        """Check that the parts belong together; raises `DataError`."""
        count, length = self.latents.shape[:2]
        frames = self.poses.shape[1]
        if not count:
            message = "latents: no clips, expected at least one"
            raise DataError(message)
        if num_pixel_frames(length) != frames or len(self.prompts) != count:
            message = (
                f"latents: {count} clips of {length} latents beside {frames} poses and "
                f"{len(self.prompts)} prompts, expected 4n+1 poses for n+1 latents"
            )
            raise DataError(message)

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self.latents)


def write_latents(folder: Path, split: Split, clips: LatentClips) -> None:
    """Write a split as `<split>.safetensors`."""
    header = {
        "prompts": clips.prompts,
        "clip_ids": clips.clip_ids,
        "sources": clips.sources,
        "intrinsics": clips.intrinsics.model_dump(),
        "frame_size": list(clips.frame_size),
    }
    tensors = {
        "latents": clips.latents.to(torch.float16).contiguous(),
        "poses": clips.poses.float().contiguous(),
        "keyboard": clips.keyboard.float().contiguous(),
        "mouse": clips.mouse.float().contiguous(),
    }
    save_file(tensors, folder / f"{split}.safetensors", metadata={_HEADER: json.dumps(header)})


def read_latents(folder: Path, split: Split) -> LatentClips:
    """Read a split.

    Raises:
        ArtifactError: when the file is missing or cannot be read.
    """
    path = folder / f"{split}.safetensors"
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads(file.metadata()[_HEADER])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, TypeError) as error:
        message = f"latents {path}: cannot be read ({error}), expected a safetensors file"
        raise ArtifactError(message) from error
    height, width = header["frame_size"]
    return LatentClips(
        **tensors,
        prompts=header["prompts"],
        clip_ids=header["clip_ids"],
        sources=header["sources"],
        intrinsics=Intrinsics(**header["intrinsics"]),
        frame_size=(height, width),
    )
