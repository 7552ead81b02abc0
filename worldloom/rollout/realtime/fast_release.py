"""A release opened to be run fast: on its device, in its type, its model made fast.

It does not know servers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from worldloom.rollout.realtime.config import RealtimeConfig
from worldloom.rollout.realtime.fast_model import make_fast
from worldloom.rollout.release import Release, load_release


@dataclass(frozen=True)
class FastRelease:
    """A release whose sessions run fast, and what was chosen."""

    release: Release
    choices: tuple[str, ...]


def load_fast_release(folder: Path, config: RealtimeConfig, device: torch.device) -> FastRelease:
    """Open a release folder on a device; a GPU computes in bfloat16.

    Raises:
        ArtifactError: when a file is missing, cannot be read or does not fit the configuration.
        MachineError: for FP8 by name on a device that does not multiply it.
    """
    release = load_release(folder)
    model = release.model
    assert isinstance(model.transformer, nn.Module), "a release is loaded with plain passes"
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    model.transformer.to(device, dtype)
    on_device = replace(
        model,
        encoder=model.encoder.to(device, dtype),
        decoder=model.decoder.to(device, dtype),
        conditioner=model.conditioner.to(device),
    )
    fast = make_fast(on_device, config)
    return FastRelease(replace(release, model=fast.model), fast.choices)
