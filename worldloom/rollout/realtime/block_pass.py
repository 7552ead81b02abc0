"""A transformer block's pass over rows of tokens, in the strokes that a GPU likes.

The layers are those of `TransformerBlock` and so is the order; what one layer leaves to be added to
the residual stream is added where the next one reads it. Keys and values of own tokens are written
into a buffer behind those of the context, so that attention reads one stretch of memory. It does
not know which latents are which, nor noise levels.

Letters: B samples, L own tokens, S context tokens, R = B L rows, E width, N heads, D channels of a
head, P rotary pairs, G = B T latents.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldloom.model.attention import BlockContext
from worldloom.model.block import BlockPlan, TransformerBlock
from worldloom.model.rope import Rotation
from worldloom.quantize.rows import Rows
from worldloom.rollout.realtime.action_pass import ActionPass, ToldActions
from worldloom.rollout.realtime.attention_memory import AttentionMemory, read_heads
from worldloom.rollout.realtime.joint_product import JointProduct
from worldloom.rollout.realtime.product import Product, format_of, multiply
from worldloom.rollout.realtime.rows import (
    Residual,
    Tokens,
    Update,
    activate,
    turn_into,
    update,
)

Modulation = Float[Tensor, "G 6 E"]
Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Seen:
    """What a block's queries see: a context's tokens and, behind them, their own."""

    memory: AttentionMemory
    num_context: int = 0  # tokens
    mask: Tensor | None = None  # [B, S + L]; None where all of it is there


@dataclass(frozen=True)
class Told:
    """What one block is told of a segment."""

    rotation: Rotation  # [B, L, N, P] of the own tokens
    plan: BlockPlan
    actions: ToldActions | None


class BlockPass:
    """One block's layers in the order and the strokes of a GPU."""

    def __init__(self, block: TransformerBlock) -> None:
        """Take a block's layers."""
        self.block = block
        dim = block.modulation.shape[-1]
        attention = block.self_attn
        self._project = JointProduct([attention.q, attention.k, attention.v])
        self.actions = None if block.actions is None else ActionPass(block.actions, dim)

    def keys_values(
        self, residual: Residual, modulation: Modulation, committed: BlockContext
    ) -> None:
        """Write the un-rotated keys and values of the tokens, [B, L, N, D], and nothing more."""
        attention = self.block.self_attn
        _, rows = self._enter(residual, modulation)
        dtype = residual.tokens.dtype
        turn_into(committed.keys, 0, multiply(attention.k, rows, dtype), attention.norm_k, None)
        turn_into(committed.values, 0, multiply(attention.v, rows, dtype), None, None)

    def __call__(
        self,
        residual: Residual,
        modulation: Modulation,
        told: Told,
        seen: Seen,
        committed: BlockContext | None = None,
    ) -> Residual:
        """Return the residual stream with the feed-forward layers' say still to be added.

        Args:
            residual: the stream as the block before left it.
            modulation: shift, scale and gate of both halves, by latent.
            told: conditions.
            seen: the memory that own keys and values are written into.
            committed: where to keep own keys and values un-rotated, if anywhere.
        """
        block, dtype = self.block, residual.tokens.dtype
        tokens, rows = self._enter(residual, modulation)
        attended = self._attend(rows, told.rotation, seen, committed, dtype)
        residual = Residual(tokens, attended, modulation[:, 2])
        camera: Pair | None = (
            told.plan.camera_scale.flatten(0, 1),
            told.plan.camera_shift.flatten(0, 1),
        )
        if block.cross_attn is not None and told.plan.prompt is not None:
            change = Update(camera, block.norm3, replaces=block.is_residual_normed)
            tokens, rows = update(residual, change, format_of(block.cross_attn.q))
            read = self._read_prompt(rows, told.plan.prompt, dtype)
            residual, camera = Residual(tokens, read), None
        if self.actions is not None and told.actions is not None:
            if camera is not None:
                residual, camera = Residual(update(residual, Update(camera), None)[0]), None
            residual = self.actions(residual, told.actions)
        change = Update(camera, block.norm2, (modulation[:, 4], modulation[:, 3]))
        tokens, rows = update(residual, change, format_of(block.ffn[0]))
        hidden = activate(multiply(block.ffn[0], rows, dtype), "gelu", format_of(block.ffn[2]))
        return Residual(tokens, multiply(block.ffn[2], hidden, dtype), modulation[:, 5])

    def _enter(self, residual: Residual, modulation: Modulation) -> tuple[Tokens, Rows]:
        change = Update(norm=self.block.norm1, modulation=(modulation[:, 1], modulation[:, 0]))
        return update(residual, change, format_of(self.block.self_attn.q))

    def _attend(
        self,
        rows: Rows,
        rotation: Rotation,
        seen: Seen,
        committed: BlockContext | None,
        dtype: torch.dtype,
    ) -> Product:
        attention, memory = self.block.self_attn, seen.memory
        query, keys, values = self._project(rows, dtype)
        plain_keys, plain_values = (
            (None, None)
            if committed is None
            else (x.flatten(2).flatten(0, 1) for x in (committed.keys, committed.values))
        )
        of_values = rotation if attention.turns_values else None
        memory.write_keys(seen.num_context, keys, attention.norm_k, rotation, plain_keys)
        memory.write_values(seen.num_context, values, of_values, plain_values)
        out = memory.read(query, attention.norm_q, rotation, seen.mask)
        if of_values is not None:
            out = _turned_back(out, of_values)
        return _project(attention.o, out)

    def _read_prompt(self, rows: Rows, prompt: BlockContext, dtype: torch.dtype) -> Product:
        cross = self.block.cross_attn
        assert cross is not None, "asked only of blocks that read the prompt"
        batch, _, heads, head_dim = prompt.keys.shape
        asked = multiply(cross.q, rows, dtype)
        query = asked.sums.new_empty(batch, len(asked.sums) // batch, heads, head_dim)
        turn_into(query, 0, asked, cross.norm_q, None)
        return _project(cross.o, read_heads(query, prompt.keys, prompt.values))


def _project(layer: nn.Module, read: Tokens) -> Product:
    return multiply(layer, activate(Product(read), "none", format_of(layer)), read.dtype)


def _turned_back(rows: Tensor, rotation: Rotation) -> Tensor:
    """Turn what was read [R, E] back by the reader's own rotation [B, L, N, P]."""
    cosine, sine = rotation
    turned = rows.new_empty(*cosine.shape[:-1], 2 * cosine.shape[-1])
    turn_into(turned, 0, Product(rows), None, (cosine, -sine))
    back: Tensor = turned.flatten(2).flatten(0, 1)
    return back
