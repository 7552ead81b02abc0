"""What length costs: one walk of many frames, its memory and its time a segment.

A session walks until it has made the frames that were asked for; its resident memory is read along
the way. Then it takes turns with a session that has only just filled its bank, so that whatever
disturbs the machine disturbs both alike. Weights are a seed's (every layer filled), so the pictures
mean nothing; the shapes, and so the costs, are the preset's. It does not know how a report is
written.
"""

from __future__ import annotations

import ctypes
import gc
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import psutil
import torch
from pydantic import Field
from torch import Tensor

from worldloom.actions import Actions
from worldloom.bench.model import random_transformer
from worldloom.bench.record import (
    Bar,
    BenchReport,
    Measurement,
    measured,
    this_machine,
    timed_in_turns,
)
from worldloom.camera import Intrinsics, Kinematics
from worldloom.config import Config
from worldloom.errors import ConfigError
from worldloom.memory.config import BankConfig, RetrievalConfig
from worldloom.model.config import TransformerConfig
from worldloom.model.vae.vae_config import VAEConfig
from worldloom.model.vae.video_vae import VAEDecoder, VAEEncoder
from worldloom.model.vae.wan_vae import WanVAEDecoder, WanVAEEncoder
from worldloom.model.vae.wan_vae_config import WanVAEConfig
from worldloom.rollout.config import SamplerConfig
from worldloom.rollout.segment import Conditioner
from worldloom.rollout.session import WorldSession
from worldloom.rollout.world_model import Frames, WorldModel

LIGHT_DECODER_LACKS = 0.75
MOST_MEMORY_GROWTH = 0.01
MOST_TIME_GROWTH = 1.1
_MIB = 1 << 20
_TURNS = (-0.15, -0.05, 0.0, 0.0, 0.05, 0.15)

Report = Callable[[int, int], None]


class RolloutBenchConfig(Config):
    """How far to walk and how often to look."""

    num_frames: int = Field(20_000, ge=100, description="frames of the long walk")
    full_after_frames: int = Field(
        2_000, ge=50, description="frames after which memory may not grow any more"
    )
    look_every_segments: int = Field(10, ge=1, description="segments between two looks at memory")
    num_samples: int = Field(120, ge=1, description="timed segments of each session")
    num_warmup: int = Field(5, ge=0, description="segments of each thrown away first")
    seed: int = Field(0, ge=0, description="seed of weights, noise and the way")
    bank: BankConfig = Field(default_factory=BankConfig, description="what a session holds")


@dataclass
class _Walker:
    """A session with a way of its own."""

    session: WorldSession
    generator: np.random.Generator

    def step(self) -> Frames:
        """Walk one segment on; keys and a turn are held for all of it."""
        count = self.session.segment_frames
        keyboard, mouse = np.zeros((count, 6), np.float32), np.zeros((count, 2), np.float32)
        keyboard[:, self.generator.integers(4)] = 1
        mouse[:, 1] = self.generator.choice(_TURNS)
        return self.session.generate_segment(Actions(keyboard, mouse))


def random_world(
    config: TransformerConfig, bank: BankConfig, seed: int, device: torch.device
) -> WorldModel:
    """Return a world model of a preset's shape whose weights are a seed's.

    On a GPU it computes in bfloat16. Latents of Wan2.2's VAE are decoded without 75 % of its
    decoder's channels; prompts of umT5 are a seed's embeddings.

    Raises:
        ConfigError: for latents of no VAE.
    """
    encoder, decoder = _random_vae(config, seed)
    intrinsics = Intrinsics.from_fov(*config.frame_size)
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    generator = torch.Generator(device).manual_seed(seed)
    return WorldModel(
        transformer=random_transformer(config, generator, dtype=dtype),
        encoder=encoder.to(device, dtype),
        decoder=decoder.to(device, dtype),
        conditioner=Conditioner(config, intrinsics).to(device),
        sampler=SamplerConfig(),
        retrieval=RetrievalConfig(),
        kinematics=Kinematics(),
        intrinsics=intrinsics,
        bank=bank,
        prompt_encoder=_RandomPrompts(config) if config.text == "umt5" else None,
    )


class _RandomPrompts:
    """Stands where a prompt encoder of eleven gigabytes would: its time is not a segment's."""

    def __init__(self, config: TransformerConfig) -> None:
        self._shape = (config.text_length, config.text_dim)

    def encode(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(len(prompts))
        embeds = torch.randn(len(prompts), *self._shape, generator=generator)
        return embeds, torch.full((len(prompts),), self._shape[0])


def _random_vae(
    config: TransformerConfig, seed: int
) -> tuple[VAEEncoder, VAEDecoder] | tuple[WanVAEEncoder, WanVAEDecoder]:
    """Return the halves of the VAE whose latents a transformer has; raises `ConfigError`."""
    small, wan = VAEConfig(), WanVAEConfig(decoder_removed=LIGHT_DECODER_LACKS)
    channels, stride = config.latent_channels, config.spatial_stride
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if stride == small.spatial_stride:  # the small one is trained for any number of channels
            fitting = small.model_copy(update={"latent_channels": channels})
            return VAEEncoder(fitting).eval(), VAEDecoder(fitting).eval()
        if (channels, stride) == (wan.latent_channels, wan.spatial_stride):
            return WanVAEEncoder(wan).eval(), WanVAEDecoder(wan).eval()
    message = (
        f"{channels} latent channels of stride {stride}: expected those of a VAE, stride "
        f"{small.spatial_stride} or {wan.latent_channels} channels of stride {wan.spatial_stride}"
    )
    raise ConfigError(message)


def measure_rollout(
    config: RolloutBenchConfig,
    transformer: TransformerConfig,
    device: torch.device,
    command: str,
    report: Report | None = None,
) -> BenchReport:
    """Walk far and return what it cost.

    Args:
        config: how far, and how often to look.
        transformer: the shape that walks.
        device: where it computes.
        command: what measures it again.
        report: called with frames made and frames wanted.

    Raises:
        ConfigError: for a walk that ends before memory counts as full, or a layout that is not
            walked by short segments.
    """
    if transformer.layout != "stream":
        message = (
            f"layout {transformer.layout!r}: expected 'stream', which is walked by short segments"
        )
        raise ConfigError(message)
    if config.num_frames <= config.full_after_frames:
        message = (
            f"num_frames={config.num_frames}: expected more than the {config.full_after_frames} "
            "after which memory counts as full"
        )
        raise ConfigError(message)
    model = random_world(transformer, config.bank, config.seed, device)
    walker = _walker(model, config.seed)
    resident, share_finite = _walk(walker, config, report)
    young = _walker(model, config.seed + 1)
    while young.session.num_frames < config.full_after_frames:
        young.step()
    seconds = timed_in_turns(
        {"long": walker.step, "young": young.step},
        num_samples=config.num_samples,
        num_warmup=config.num_warmup,
        device=device,
    )
    milliseconds = {name: [1e3 * value for value in values] for name, values in seconds.items()}
    long, fresh = (
        measured(f"segment, {name}", "ms", values, num_warmup=config.num_warmup)
        for name, values in (
            (f"session of {walker.session.num_frames} frames", milliseconds["long"]),
            (f"session of {young.session.num_frames} frames", milliseconds["young"]),
        )
    )
    return BenchReport(
        title="A long walk",
        command=command,
        notes=(
            f"{transformer.segment_frames} frames a segment of "
            f"{'x'.join(map(str, transformer.frame_size))} pixels; weights are a seed's.",
            "Both sessions take turns; times are wall-clock, decoding and committing included.",
            f"Resident memory of the process, read every {config.look_every_segments} segments "
            f"from frame {config.full_after_frames} on; growth is the last tenth's median over "
            "the first tenth's.",
        ),
        machine=this_machine(device),
        measurements=(long, fresh, measured("resident memory", "MiB", resident)),
        bars=_bars(long, fresh, resident, share_finite),
    )


def _walker(model: WorldModel, seed: int) -> _Walker:
    generator = np.random.default_rng(seed)
    image = generator.integers(0, 256, (*model.frame_size, 3), dtype=np.uint8)
    session = WorldSession(model, image=image, prompt="a long walk", seed=seed)
    return _Walker(session, generator)


def _walk(
    walker: _Walker, config: RolloutBenchConfig, report: Report | None
) -> tuple[list[float], float]:
    """Walk to the end; return MiB resident along the way and the share of finite segments."""
    process, session = psutil.Process(), walker.session
    resident, finite, segments = [], 0, 0
    while session.num_frames < config.num_frames:
        walker.step()
        segments += 1
        latest = session.truth.latents([len(session.truth) - 1])
        finite += int(torch.isfinite(latest).all() and np.isfinite(session.pose).all())
        is_full = session.num_frames >= config.full_after_frames
        if is_full and not segments % config.look_every_segments:
            _give_back_freed_memory()
            resident.append(process.memory_info().rss / _MIB)
        if report is not None:
            report(session.num_frames, config.num_frames)
    return resident, finite / segments


def _bars(
    long: Measurement, fresh: Measurement, resident: list[float], share_finite: float
) -> tuple[Bar, ...]:
    tenth = max(1, math.ceil(len(resident) / 10))
    growth = np.median(resident[-tenth:]) / np.median(resident[:tenth]) - 1
    return (
        Bar(name="finite segments", value=share_finite, limit=1.0, sense="at least"),
        Bar(
            name="growth of resident memory",
            value=float(growth),
            limit=MOST_MEMORY_GROWTH,
            sense="at most",
        ),
        Bar(
            name="time of a segment, long over young",
            value=long.median / fresh.median,
            limit=MOST_TIME_GROWTH,
            sense="at most",
            unit="times",
        ),
    )


def _give_back_freed_memory() -> None:
    """Let the C library return what was freed, so that resident memory is what is in use."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
