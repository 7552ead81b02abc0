"""The world-model transformer as sessions run it: fixed shapes, fused passes, captured graphs.

It has the passes of `WorldModelTransformer` over the same weights and answers what that answers,
to rounding. What differs is when things are worked out: what a prompt says once for as long as it
stays the same, where the context lies once a segment (`placed`), and everything else in the
strokes of `block_pass`. Shapes are captured as graphs when they are first seen. A prepared segment,
a placed context and committed keys hold until the next of their shape. For inference; it does not
know sessions.

Letters: B samples, C channels, T latents, H W rows and columns, L = T P own tokens, R = B L rows,
S context tokens, E width, N heads, D channels of a head, G = B T latents, K coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from worldloom.errors import ConfigError
from worldloom.model.attention import BlockContext
from worldloom.model.config import TransformerConfig
from worldloom.model.transformer import (
    Context,
    Latents,
    PreparedSegment,
    SegmentConditions,
    Sigma,
    WorldModelTransformer,
)
from worldloom.quantize.fp8_linear import require_fp8
from worldloom.rollout.realtime.attention_memory import (
    AttentionMemory,
    Fp8Memory,
    FullMemory,
    Size,
)
from worldloom.rollout.realtime.block_pass import BlockPass, Seen, Told
from worldloom.rollout.realtime.captured import Captured, GraphMemory
from worldloom.rollout.realtime.context_memory import ContextMemory
from worldloom.rollout.realtime.product import answer_of, format_of
from worldloom.rollout.realtime.rows import Residual, Update, update
from worldloom.rollout.realtime.segment_teller import FastSegment, SegmentTeller, Shape
from worldloom.rollout.realtime.step_cache import NO_BLOCKS, Reuse, StepCache
from worldloom.rollout.realtime.ulysses import PlaceShare, UlyssesFp8Memory, UlyssesMemory

Stepped = tuple[Tensor, Tensor | None]  # velocity, and keys and values [2, blocks, B, L, N, D]


@dataclass(frozen=True)
class _Step:
    """A kind of denoising step; each is captured once."""

    shape: Shape
    has_context: bool
    keeps: bool  # own keys and values
    reuse: Reuse


class FastTransformer:
    """A transformer's weights, run fast."""

    def __init__(
        self,
        transformer: WorldModelTransformer,
        *,
        attends_in_fp8: bool = False,
        captures_graphs: bool = True,
        reused_blocks: range = NO_BLOCKS,
        share: PlaceShare | None = None,
    ) -> None:
        """Take a network whose layers are final: quantized, on their device, in their type.

        Args:
            transformer: the network; its layers are used, not copied.
            attends_in_fp8: multiply queries, keys and values in FP8 (GPUs from Hopper on).
            captures_graphs: replay passes from graphs; False launches every kernel anew.
            reused_blocks: whose say a segment's first step leaves for the others to repeat.
            share: of the tokens, where several processes run the network together.

        Raises:
            MachineError: for FP8 on a device that does not multiply it.
        """
        if attends_in_fp8:
            require_fp8(transformer.device)
        self._share = share
        self._network = transformer
        self._attends_in_fp8 = attends_in_fp8
        self.config: TransformerConfig = transformer.config
        self._blocks = [BlockPass(block) for block in transformer.typed_blocks()]
        self._modulations = torch.stack([blocks.block.modulation for blocks in self._blocks])
        self._context = (
            ContextMemory(self.config, self._memory) if self.config.layout == "stream" else None
        )
        self._placed: Context | None = None
        self._own: dict[Shape, AttentionMemory] = {}
        self._segments: dict[Shape, FastSegment] = {}
        self._denoise: dict[_Step, Captured[Stepped]] = {}
        self._commit: dict[tuple[Shape, bool], Captured[Tensor]] = {}
        self._step_cache = StepCache(reused_blocks)
        self._graph_memory = GraphMemory(is_used=captures_graphs)
        self._teller = SegmentTeller(transformer, self._blocks, self._graph_memory, share)

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type that tokens are computed in."""
        return self._network.dtype

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._network.device

    def prepare(self, conditions: SegmentConditions) -> FastSegment:
        """Work out what every denoising step of a segment shares; it holds until the next."""
        segment = self._teller.told(conditions)
        self._segments[segment.shape] = segment
        return segment

    def placed(self, context: Context) -> Context:
        """Turn a context's keys to where they are seen from; it holds until the next.

        Raises:
            ValueError: for a context whose keys are yet to be computed.
        """
        if context.blocks is None:
            message = "context without keys and values: expected committed ones, block by block"
            raise ValueError(message)
        assert self._context is not None, "a context belongs to the stream layout"
        self._context.place(context.blocks, self._teller.rotation(context.coordinates))
        self._placed = replace(context)
        return self._placed

    def denoise(
        self,
        latents: Latents,
        sigma: Sigma,
        prepared: PreparedSegment,
        context: Context | None = None,
    ) -> Latents:
        """Return the velocity (noise minus data) of latents whose noise levels are sigma."""
        return self._stepped(latents, sigma, prepared, context, keeps=False)[0]

    def denoise_and_keep(
        self,
        latents: Latents,
        sigma: Sigma,
        prepared: PreparedSegment,
        context: Context | None = None,
    ) -> tuple[Latents, list[BlockContext]]:
        """Return the velocity, and the un-rotated keys and values of the latents as they came.

        Raises:
            ConfigError: where blocks are left out of later steps, and so have no keys.
        """
        if self._step_cache.blocks:
            message = (
                f"keys of a step that repeats blocks {self._step_cache.blocks}: they are not "
                "computed there, expected steps through every block"
            )
            raise ConfigError(message)
        velocity, kept = self._stepped(latents, sigma, prepared, context, keeps=True)
        assert kept is not None, "a step that keeps has kept"
        return velocity, _by_block(kept)

    def commit(
        self, latents: Latents, prepared: PreparedSegment, context: Context | None = None
    ) -> list[BlockContext]:
        """Return the un-rotated keys and values [B, L, N, D] of clean latents, block by block."""
        segment = self._latest(prepared)
        is_valid = self._require_placed(context)
        if is_valid is not None:
            return _by_block(self._committed(latents, segment.shape, is_valid, has_context=True))
        key = (segment.shape, context is not None)
        if key not in self._commit:
            shape, has_context = key
            self._commit[key] = Captured(
                lambda x: self._committed(x, shape, None, has_context=has_context),
                self._graph_memory,
            )
        return _by_block(self._commit[key](latents))

    def _stepped(
        self,
        latents: Tensor,
        sigma: Tensor,
        prepared: PreparedSegment,
        context: Context | None,
        *,
        keeps: bool,
    ) -> Stepped:
        segment = self._latest(prepared)
        is_valid = self._require_placed(context)
        reuse = self._step_cache.reuse(is_first=not segment.is_stepped)
        segment.is_stepped = True
        step = _Step(segment.shape, context is not None, keeps, reuse)
        if is_valid is not None:
            return self._denoised(latents, sigma, step, is_valid)
        if step not in self._denoise:
            self._denoise[step] = Captured(
                lambda x, level: self._denoised(x, level, step, None), self._graph_memory
            )
        return self._denoise[step](latents, sigma)

    def _latest(self, prepared: PreparedSegment) -> FastSegment:
        if not isinstance(prepared, FastSegment) or (
            self._segments.get(prepared.shape) is not prepared
        ):
            message = "prepared segment: another was prepared since, expected the latest"
            raise ValueError(message)
        return prepared

    def _require_placed(self, context: Context | None) -> Bool[Tensor, "1 S"] | None:
        """Place a context unless it lies there; return which of its tokens are there."""
        if context is None:
            return None
        if context is not self._placed:
            self.placed(context)
        return context.is_valid

    def _denoised(
        self, latents: Tensor, sigma: Tensor, step: _Step, is_valid: Tensor | None
    ) -> Stepped:
        network, shape = self._network, step.shape
        residual, time_BTE, modulations = self._enter(latents, sigma)
        own = None if step.has_context else Seen(self._own_memory(shape))
        kept = self._empty_committed(shape) if step.keeps else None
        for index, block in enumerate(self._blocks):
            if self._step_cache.skips(index, step.reuse):
                residual = self._step_cache.repeated(index, residual, shape)
                continue
            residual = self._step_cache.entered(index, residual, shape, step.reuse)
            its = None if kept is None else BlockContext(kept[0, index], kept[1, index])
            seen = own or self._seen(index, is_valid)
            residual = block(residual, modulations[index], self._told(shape, index), seen, its)
            residual = self._step_cache.left(index, residual, shape, step.reuse)
        speaks = time_BTE.flatten(0, 1)[:, None] + network.head_modulation
        change = Update(norm=network.head_norm, modulation=(speaks[:, 1], speaks[:, 0]))
        _, rows = update(residual, change, format_of(network.head))
        patches = answer_of(network.head, rows, self.dtype).unflatten(0, (*shape[:2], -1))
        if self._share is not None:
            patches = self._share.gathered(patches)
        return network.to_latents(patches), kept

    def _committed(
        self, latents: Tensor, shape: Shape, is_valid: Tensor | None, *, has_context: bool
    ) -> Tensor:
        """Return keys and values [2, blocks, B, L, N, D]."""
        residual, _, modulations = self._enter(latents, latents.new_zeros(shape[:2]))
        own = None if has_context else Seen(self._own_memory(shape))
        kept = self._empty_committed(shape)
        last = len(self._blocks) - 1
        for index, block in enumerate(self._blocks):
            its = BlockContext(kept[0, index], kept[1, index])
            if index == last:  # nothing reads the last block's tokens
                block.keys_values(residual, modulations[index], its)
                break
            seen = own or self._seen(index, is_valid)
            residual = block(residual, modulations[index], self._told(shape, index), seen, its)
        return kept

    def _enter(self, latents: Tensor, sigma: Tensor) -> tuple[Residual, Tensor, Tensor]:
        """Return tokens [R, E], embedded timesteps [B, T, E], modulations [blocks, G, 6, E]."""
        x_BLE, time_BTE, modulation = self._network.embed(latents, sigma)
        modulations = self._modulations + modulation.flatten(0, 1)
        if self._share is not None:
            by_place = x_BLE.unflatten(1, (latents.shape[2], -1))
            x_BLE = self._share.of_places(by_place).flatten(1, 2)
        return Residual(x_BLE.flatten(0, 1)), time_BTE, modulations

    def _told(self, shape: Shape, index: int) -> Told:
        segment = self._segments[shape]
        return Told(segment.segment.rotation, segment.blocks[index], segment.actions[index])

    def _seen(self, index: int, is_valid: Tensor | None) -> Seen:
        assert self._context is not None, "a context belongs to the stream layout"
        return self._context.seen(index, is_valid)

    def _size(self, shape: Shape) -> Size:
        config = self.config
        places = config.tokens_per_latent_frame
        if self._share is not None:
            places //= self._share.num_processes
        return shape[0], shape[1] * places, config.num_heads, config.head_dim

    def _empty_committed(self, shape: Shape) -> Tensor:
        size = (2, len(self._blocks), *self._size(shape))
        return torch.empty(size, dtype=self.dtype, device=self.device)

    def _own_memory(self, shape: Shape) -> AttentionMemory:
        """Return the memory of passes without a context; blocks use it one after another."""
        if shape not in self._own:
            self._own[shape] = self._memory(self._size(shape))
        return self._own[shape]

    def _memory(self, size: Size) -> AttentionMemory:
        if self._share is not None:
            if self._attends_in_fp8:
                return UlyssesFp8Memory(self._share, size, self.device)
            return UlyssesMemory(self._share, size, self.dtype, self.device)
        if self._attends_in_fp8:
            return Fp8Memory(size, self.device)
        return FullMemory(size, self.dtype, self.device)


def _by_block(kept: Float[Tensor, "two blocks B L N D"]) -> list[BlockContext]:
    keys, values = kept
    return [BlockContext(*pair) for pair in zip(keys, values, strict=True)]
