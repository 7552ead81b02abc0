"""Experts by noise level behind the interface of one transformer.

High noise decides what is where and how it moves, low noise what it looks like; so Wan2.2-A14B has
a transformer for each, and Matrix-Game 3.0's 2x14B two of the first kind, by view. A sample's noise
level is that of its noisiest latent, because memory and past are clean latents of the same
sequence; from the boundary on, the boundary among it, the high-noise expert is asked.

`ExpertsOfView` is used wherever one `WorldModelTransformer` of the reference layout is. It does not
know where experts lie: whoever offloads one moves it before it is asked.

Letters: B batch, C channels, T latents, H W rows and columns.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from worldloom.model.config import TransformerConfig
from worldloom.model.experts_config import (
    LOW_NOISE,
    ExpertsConfig,
    View,
    expert_shapes,
    high_noise,
)
from worldloom.model.transformer import (
    Context,
    Latents,
    PreparedSegment,
    SegmentConditions,
    Sigma,
    WorldModelTransformer,
)

PreparedT = TypeVar("PreparedT")


class Denoiser(Protocol[PreparedT]):
    """What a sampler asks of a network: prepare a segment once, then its velocity at each level."""

    @property
    def config(self) -> TransformerConfig:
        """The shape that segments have."""

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type that tokens are computed in."""

    def prepare(self, conditions: SegmentConditions) -> PreparedT:
        """Work out what every denoising step of a segment shares."""

    def denoise(
        self,
        latents: Latents,
        sigma: Sigma,
        prepared: PreparedT,
        context: Context | None = None,
    ) -> Latents:
        """Return the velocity (noise minus data) of latents whose noise levels are sigma."""


@dataclass
class PreparedForExperts:
    """A segment's conditions, and what the expert that was asked last made of them.

    Levels fall while a segment is denoised, so an expert that another one follows is not asked
    again, and its plans, gigabytes at full size, are let go.
    """

    conditions: SegmentConditions
    plans: dict[str, PreparedSegment] = field(default_factory=dict)


class NoiseExperts(nn.Module):
    """Transformers by name: one for high noise of each view, and one for low noise."""

    def __init__(self, shape: TransformerConfig, config: ExpertsConfig) -> None:
        """Build every expert; raises `ValueError` in the stream layout."""
        super().__init__()
        self.config = config
        self.experts = nn.ModuleDict(
            {
                name: WorldModelTransformer(expert)
                for name, expert in expert_shapes(shape, config).items()
            }
        )

    def expert(self, name: str) -> WorldModelTransformer:
        """Return an expert; raises `ValueError` listing the known names."""
        if name not in self.experts:
            message = f"expert {name!r}: not known, expected one of {', '.join(self.experts)}"
            raise ValueError(message)
        found = self.experts[name]
        assert isinstance(found, WorldModelTransformer)
        return found

    def of_view(self, view: View) -> ExpertsOfView:
        """Return the experts of one view; raises `ValueError` for a view that has none."""
        if view not in self.config.views:
            known = ", ".join(self.config.views)
            message = f"view {view!r}: no expert is trained for it, expected one of {known}"
            raise ValueError(message)
        return ExpertsOfView(
            self.expert(high_noise(view)), self.expert(LOW_NOISE), self.config.noise_boundary
        )


class ExpertsOfView:
    """The two experts of a view, used as if they were one transformer."""

    def __init__(
        self, high: WorldModelTransformer, low: WorldModelTransformer, noise_boundary: float
    ) -> None:
        self.high = high
        self.low = low
        self.noise_boundary = noise_boundary

    @property
    def config(self) -> TransformerConfig:
        """The shape that segments have: the high-noise expert's."""
        return self.high.config

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type that tokens are computed in."""
        return self.high.dtype

    def prepare(self, conditions: SegmentConditions) -> PreparedForExperts:
        """Keep the conditions; an expert works on them when it is first asked."""
        return PreparedForExperts(conditions)

    def denoise(
        self,
        latents: Latents,
        sigma: Sigma,
        prepared: PreparedForExperts,
        context: Context | None = None,
    ) -> Latents:
        """Return the velocity, from the expert of each sample's noise level.

        Raises:
            ValueError: for a sample with noisy latents on both sides of the boundary, which no one
                expert has learnt, or for a context, which belongs to one expert's weights.
        """
        if context is not None:
            message = "context: keys and values are one transformer's, expected None of experts"
            raise ValueError(message)
        is_high = self._is_high(sigma)
        if is_high.all():
            return self._ask("high", self.high, latents, sigma, prepared)
        if not is_high.any():
            return self._ask("low", self.low, latents, sigma, prepared)
        velocity = torch.empty_like(latents, dtype=self.dtype)
        for network, rows in ((self.high, is_high), (self.low, ~is_high)):
            conditions = _rows(prepared.conditions, rows)
            own = network.denoise(latents[rows], sigma[rows], network.prepare(conditions))
            velocity = velocity.index_put((rows,), own)
        return velocity

    def _is_high(self, sigma: Sigma) -> Bool[Tensor, " B"]:
        reaches = sigma >= self.noise_boundary
        stays_below = (sigma > 0) & ~reaches
        is_split = reaches.any(dim=1) & stays_below.any(dim=1)
        if is_split.any():
            levels = sigma[is_split][0].tolist()
            message = (
                f"sigma {levels}: noisy latents on both sides of the boundary "
                f"{self.noise_boundary}, expected one side (or 0, clean) in a sample"
            )
            raise ValueError(message)
        return reaches.any(dim=1)

    def _ask(
        self,
        side: str,
        network: WorldModelTransformer,
        latents: Tensor,
        sigma: Tensor,
        prepared: PreparedForExperts,
    ) -> Tensor:
        if side not in prepared.plans:
            prepared.plans.clear()
            prepared.plans[side] = network.prepare(prepared.conditions)
        velocity: Tensor = network.denoise(latents, sigma, prepared.plans[side])
        return velocity


def _rows(conditions: SegmentConditions, rows: Tensor) -> SegmentConditions:
    """Return the conditions of some samples."""
    return SegmentConditions(
        rays=conditions.rays[rows],
        coordinates=conditions.coordinates[rows],
        keyboard=conditions.keyboard[rows],
        mouse=conditions.mouse[rows],
        prompt=conditions.prompt[rows],
        num_memory=conditions.num_memory,
    )
