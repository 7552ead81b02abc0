"""What walks in a batch have behind them: keys and values committed once, or the latents alone.

All that is known from the start lies in `Told`: poses, actions and prompts of whole walks. It does
not know solvers, nor how context is chosen.

Letters: B walks, L latents, T latents of a segment, M context latents, P tokens of a latent,
N heads, D channels of a head, W frames of an action window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from worldloom.diffusion.solver_state import Velocity
from worldloom.model.attention import BlockContext
from worldloom.model.transformer import Context
from worldloom.rollout.segment import Windows
from worldloom.rollout.whole_window import denoise_joined, joined_conditions
from worldloom.rollout.world_model import WorldModel, told_sigma

Poses = Float[Tensor, "B L 4 4"]


@dataclass(frozen=True)
class Told:
    """What walks are told, from their first latent to their last."""

    model: WorldModel
    poses: Poses
    windows: Windows  # [B, L, W, keys] and [B, L, W, axes]
    prompt: Tensor  # [B, words, ...]

    def windows_of(self, latents: slice) -> Windows:
        """Return the actions of consecutive latents."""
        return self.windows[0][:, latents], self.windows[1][:, latents]


@dataclass(frozen=True)
class Chosen:
    """Which latents a segment sees."""

    latents: Int[Tensor, "B M"]
    is_valid: Bool[Tensor, "B M"]

    @property
    def rows(self) -> Int[Tensor, "B 1"]:
        """Each walk's row beside its latents."""
        return torch.arange(len(self.latents), device=self.latents.device)[:, None]


class Past(Protocol):
    """What segments are generated behind."""

    def velocity(self, new: slice, chosen: Chosen) -> Velocity:
        """Return the velocity of the segment of these latents behind the chosen ones."""

    def commit(
        self, latents: Float[Tensor, "B C T H W"], new: slice, chosen: Chosen | None
    ) -> None:
        """Take in a segment's latents; it saw the chosen ones, or nothing."""


class CommittedPast:
    """Keys and values, computed as the configuration's reach says, each once."""

    def __init__(self, told: Told) -> None:
        """Hold nothing yet."""
        self._told = told
        model, config = told.model, told.model.transformer.config
        count, length = told.poses.shape[:2]
        shape = (count, length, config.tokens_per_latent_frame, config.num_heads, config.head_dim)
        dtype = model.transformer.dtype
        self._blocks = [
            BlockContext(
                torch.zeros(shape, dtype=dtype, device=model.device),
                torch.zeros(shape, dtype=dtype, device=model.device),
            )
            for _ in range(config.num_blocks)
        ]

    def velocity(self, new: slice, chosen: Chosen) -> Velocity:
        """Return the velocity of the segment of these latents behind the chosen ones."""
        told, model = self._told, self._told.model
        context = self._context(new, chosen)
        prepared = model.transformer.prepare(
            model.conditioner.noisy(
                told.poses[:, new],
                told.poses[:, new.start - 1],
                told.windows_of(new),
                told.prompt,
            )
        )

        def velocity(noisy: Tensor, sigma: Tensor) -> Tensor:
            levels = _levels(model, sigma, noisy)
            return model.transformer.denoise(noisy, levels, prepared, context).float()

        return velocity

    def commit(
        self, latents: Float[Tensor, "B C T H W"], new: slice, chosen: Chosen | None
    ) -> None:
        """Keep the keys and values of latents."""
        tokens = (latents.shape[2], self._told.model.transformer.config.tokens_per_latent_frame)
        for kept, own in zip(self._blocks, self._committed(latents, new, chosen), strict=True):
            kept.keys[:, new] = own.keys.unflatten(1, tokens)
            kept.values[:, new] = own.values.unflatten(1, tokens)

    def _committed(self, latents: Tensor, new: slice, chosen: Chosen | None) -> list[BlockContext]:
        """Return keys and values [B, T P, N, D]."""
        told, transformer = self._told, self._told.model.transformer
        conditioner, reach = told.model.conditioner, transformer.config.reach
        poses, windows = told.poses[:, new], told.windows_of(new)
        if reach == "window" and chosen is not None:
            anchor = told.poses[:, new.start - 1]
            conditions = conditioner.noisy(poses, anchor, windows, told.prompt)
            prepared = transformer.prepare(conditions)
            return transformer.commit(latents, prepared, self._context(new, chosen))
        if reach == "segment" or latents.shape[2] == 1:
            prepared = transformer.prepare(conditioner.clean(poses, windows, told.prompt))
            return transformer.commit(latents, prepared)
        batch, count = len(latents), latents.shape[2]
        apart = latents.transpose(1, 2).flatten(0, 1)[:, :, None]
        alone = (windows[0].flatten(0, 1)[:, None], windows[1].flatten(0, 1)[:, None])
        prompt = told.prompt.repeat_interleave(count, dim=0)
        conditions = conditioner.clean(poses.flatten(0, 1)[:, None], alone, prompt)
        return [
            BlockContext(
                block.keys.unflatten(0, (batch, count)).flatten(1, 2),
                block.values.unflatten(0, (batch, count)).flatten(1, 2),
            )
            for block in transformer.commit(apart, transformer.prepare(conditions))
        ]

    def _context(self, new: slice, chosen: Chosen) -> Context:
        blocks = [
            BlockContext(
                block.keys[chosen.rows, chosen.latents].flatten(1, 2),
                block.values[chosen.rows, chosen.latents].flatten(1, 2),
            )
            for block in self._blocks
        ]
        return placed_context(self._told, blocks, new, chosen)


class JoinedPast:
    """The latents alone: context and segment are one sequence at every step."""

    def __init__(self, told: Told) -> None:
        """Hold nothing yet."""
        self._told = told
        config = told.model.transformer.config
        grid = (config.latent_channels, config.latent_height, config.latent_width)
        self._latents = torch.zeros(*told.poses.shape[:2], *grid, device=told.model.device)

    def velocity(self, new: slice, chosen: Chosen) -> Velocity:
        """Return the velocity of the segment of these latents behind the chosen ones."""
        told, model = self._told, self._told.model
        conditioner, at = model.conditioner, (chosen.rows, chosen.latents)
        anchor = told.poses[:, new.start - 1]
        windows = (told.windows[0][at], told.windows[1][at])
        of_context = conditioner.noisy(told.poses[at], anchor, windows, told.prompt)
        of_segment = conditioner.noisy(
            told.poses[:, new], anchor, told.windows_of(new), told.prompt
        )
        places = placed_context(told, None, new, chosen)
        slots = model.transformer.config.num_memory_latents
        prepared = model.transformer.prepare(
            joined_conditions(places, of_context, of_segment, slots)
        )
        clean = self._latents[at] * chosen.is_valid[..., None, None, None]

        def velocity(noisy: Tensor, sigma: Tensor) -> Tensor:
            levels = _levels(model, sigma, noisy)
            return denoise_joined(model.transformer, clean, noisy, levels, prepared).float()

        return velocity

    def commit(
        self, latents: Float[Tensor, "B C T H W"], new: slice, chosen: Chosen | None
    ) -> None:
        """Keep the latents."""
        del chosen
        self._latents[:, new] = latents.transpose(1, 2).to(self._latents)


def placed_context(
    told: Told, blocks: list[BlockContext] | None, new: slice, chosen: Chosen
) -> Context:
    """Return chosen latents placed for the segment that begins at `new`."""
    return told.model.conditioner.context(
        blocks,
        told.poses[chosen.rows, chosen.latents],
        told.poses[:, new.start - 1],
        new.start - chosen.latents,
        chosen.is_valid,
    )


def _levels(model: WorldModel, sigma: Tensor, noisy: Tensor) -> Float[Tensor, "B T"]:
    return told_sigma(sigma, model.sampler)[:, None].expand(-1, noisy.shape[2])
