"""Builds the model that an arm walks with, from folders of weights.

A folder of weights is a starter folder: `base`, `student` and `vae`, and narrow decoders
(`decoder-50`, `decoder-75`) where they were taught; an arm's own weights are one transformer's
folder beside the `vae` of the first. It knows what an arm changes; it does not know walks or
measures. A narrow decoder that is not there is cut and taught here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn

from worldloom.camera import Intrinsics, Kinematics
from worldloom.distill.decoder import DecoderObjective
from worldloom.distill.decoder_config import DecoderObjectiveConfig, decoder_part
from worldloom.errors import ArtifactError, ConfigError
from worldloom.evaluate.video_quality import Frames
from worldloom.experiments.arms import Arm, Quantization
from worldloom.experiments.cells import part_digests
from worldloom.memory.config import BankConfig
from worldloom.model.transformer import WorldModelTransformer
from worldloom.model.vae.video_vae import VAEDecoder, VideoVAE, load_decoder, load_vae
from worldloom.quantize.config import QuantizeLinearsConfig
from worldloom.quantize.convert import quantize_linears
from worldloom.quantize.prune import pruned_widths
from worldloom.quantize.stored import round_to_stored, stored_bytes
from worldloom.rollout.config import SamplerConfig
from worldloom.rollout.segment import Conditioner
from worldloom.rollout.world_model import WorldModel
from worldloom.train.model_checkpoint import (
    ModelCheckpointConfig,
    load_model,
    load_model_config,
)

_LEARNING_RATE = 1e-3


@dataclass(frozen=True)
class WeightFolders:
    """Where weights lie, one entry a training seed.

    Attributes:
        starters: folders with `base`, `student` and `vae`.
        own: an arm's own transformers by the arm's name; they go before a starter's.
    """

    starters: Sequence[Path]
    own: Mapping[str, Sequence[Path]]

    def transformers_of(self, arm: Arm) -> list[Path]:
        """Return the transformer's folder under each training seed; none where none was given."""
        if arm.weights == "own" or arm.name in self.own:
            return list(self.own.get(arm.name, ()))
        return [starter / arm.weights for starter in self.starters]

    def vae_of(self, seed_index: int) -> Path:
        """Return the VAE's folder; one that is shared serves every training seed."""
        return self._starter(seed_index) / "vae"

    def decoder_of(self, arm: Arm, seed_index: int) -> Path | None:
        """Return the folder of an arm's narrow decoder; None where none was taught."""
        if not arm.decoder_removed:
            return None
        folder = self._starter(seed_index) / decoder_part(arm.decoder_removed)
        return folder if folder.is_dir() else None

    def starter_digests(self) -> list[dict[str, str]]:
        """Return the digest of each starter's parts: whoever reads figures can tell of what."""
        return [part_digests(starter) for starter in self.starters]

    def _starter(self, seed_index: int) -> Path:
        return self.starters[min(seed_index, len(self.starters) - 1)]


@dataclass(frozen=True)
class BuiltArm:
    """A model ready to walk.

    Attributes:
        model: the networks.
        vae: encoder and full decoder, on the model's device.
        weight_bytes: of the transformer as it is held.
        stored_weight_bytes: of the transformer as a release keeps it.
        full_weight_bytes: of the same in 32-bit floats.
    """

    model: WorldModel
    vae: VideoVAE
    weight_bytes: int
    stored_weight_bytes: int
    full_weight_bytes: int


def frame_size_of(folder: Path) -> tuple[int, int]:
    """Return the height and width of the frames that a transformer makes, pixels."""
    return load_model_config(folder).transformer.frame_size


def build_arm(
    arm: Arm,
    folders: WeightFolders,
    seed_index: int,
    device: torch.device,
    lessons: Callable[[], Sequence[Frames]],
    base_steps: int | None = None,
) -> BuiltArm:
    """Return an arm's model.

    Args:
        arm: what is wanted.
        folders: where weights lie.
        seed_index: which training seed.
        device: where to compute.
        lessons: films on which a cut decoder is taught.
        base_steps: steps in which base models walk; None: as many as their own sampler has.

    Raises:
        ArtifactError: when weights are missing or do not fit.
        ConfigError: when a layer cannot be quantized, or the model does not walk in batches.
    """
    transformer, config = load_model(folders.transformers_of(arm)[seed_index])
    _require_walkable(arm, config)
    vae = load_vae(folders.vae_of(seed_index))
    full_bytes = _num_bytes(transformer)
    quantize(transformer, arm.quantization)
    decoder, taught = vae.decoder, folders.decoder_of(arm, seed_index)
    if taught is not None:
        decoder = _taught_decoder(arm, vae, taught)
    elif arm.decoder_removed:
        decoder = _cut_decoder(arm, vae, lessons(), device)
    vae.to(device)
    shape = config.transformer
    intrinsics = Intrinsics.from_fov(*shape.frame_size)
    model = WorldModel(
        transformer=transformer.to(device),
        encoder=vae.encoder,
        decoder=decoder.to(device),
        conditioner=Conditioner(shape, intrinsics).to(device),
        sampler=_sampler(arm, config.sampler, folders, seed_index, base_steps),
        retrieval=config.retrieval,
        kinematics=Kinematics(),
        intrinsics=intrinsics,
        bank=BankConfig(),
    )
    return BuiltArm(model, vae, _num_bytes(transformer), stored_bytes(transformer), full_bytes)


def quantize(transformer: WorldModelTransformer, kind: Quantization) -> None:
    """Turn linear layers into 8-bit ones in place, and round the rest as a release does.

    Raises:
        ConfigError: naming a chosen layer that cannot be 8-bit and why.
    """
    if kind == "none":
        return
    layers: Literal["attention", "all"] = "attention" if kind == "int8-attention" else "all"
    number_format: Literal["int8", "fp8"] = "fp8" if kind == "fp8-all" else "int8"
    quantize_linears(transformer, QuantizeLinearsConfig(layers=layers, number_format=number_format))
    round_to_stored(transformer)


def _require_walkable(arm: Arm, config: ModelCheckpointConfig) -> None:
    """Refuse what `walks` does not do: the reference's windows, and guidance."""
    layout, guidance = config.transformer.layout, config.sampler.guidance_scale
    if layout != "stream" or guidance != 1:
        message = (
            f"arm {arm.name}: layout {layout!r} with guidance {guidance:g}, expected a stream"
            " without guidance; other models do not walk in batches yet"
        )
        raise ConfigError(message)


def _sampler(
    arm: Arm,
    own: SamplerConfig,
    folders: WeightFolders,
    seed_index: int,
    base_steps: int | None,
) -> SamplerConfig:
    """Return how an arm is sampled: its own way, a base in other steps, or naively.

    Naively is at the student's levels. Other steps lie on the line through a base's own levels.
    """
    if not arm.is_naive:
        if base_steps is None or arm.weights != "base":
            return own
        levels = [*own.sigmas, 0.0]
        at = np.linspace(0, len(own.sigmas), base_steps + 1)[:-1]
        sigmas = np.interp(at, range(len(levels)), levels)
        return own.model_copy(update={"sigmas": tuple(sigmas.tolist())})
    student = load_model_config(folders.starters[seed_index] / "student").sampler
    return SamplerConfig(sigmas=student.sigmas, solver="euler")


def _taught_decoder(arm: Arm, vae: VideoVAE, folder: Path) -> VAEDecoder:
    """Return the narrow decoder of a folder; it must lack what the arm says."""
    decoder = load_decoder(folder)
    wide = vae.decoder.config
    expected = pruned_widths(wide.decoder_widths, arm.decoder_removed)
    if decoder.config != wide.model_copy(update={"decoder_widths": expected}):
        message = (
            f"{folder}: a decoder of widths {decoder.config.decoder_widths}, expected the VAE's "
            f"without {arm.decoder_removed:.0%}, {expected}"
        )
        raise ArtifactError(message)
    return decoder


def _cut_decoder(
    arm: Arm, vae: VideoVAE, films: Sequence[Frames], device: torch.device
) -> VAEDecoder:
    """Return a decoder without a share of its channels, taught by the full one."""
    config = DecoderObjectiveConfig(removed=arm.decoder_removed, evaluation_windows=1)
    objective = DecoderObjective(vae, config, train=films, held_out=films[:1])
    student = objective.student.to(device).train()
    optimiser = torch.optim.AdamW(student.parameters(), lr=_LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=_LEARNING_RATE, total_steps=max(1, arm.decoder_steps)
    )
    generator = torch.Generator().manual_seed(0)
    for step in range(arm.decoder_steps):
        loss, _ = objective.loss(step, generator)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return student.requires_grad_(requires_grad=False).eval()


def _num_bytes(module: nn.Module) -> int:
    return sum(value.nbytes for value in module.state_dict().values())
