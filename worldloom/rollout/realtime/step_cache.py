"""What a stretch of blocks said at a segment's first step, repeated by the steps after it.

A network's deep blocks change little from one noise level to the next (DeepCache, TeaCache), so
later steps may add what they added first instead of running them. That is another function than
the network's: a student must be trained for it, or its loss be measured. It does not know blocks.

Letters: R rows of tokens, E width.
"""

from __future__ import annotations

from collections.abc import Hashable
from enum import Enum

import torch
from torch import Tensor

from worldloom.rollout.realtime.rows import Residual, Update, update

NO_BLOCKS = range(0)


class Reuse(Enum):
    """What a step does about the stretch."""

    NOTHING = "nothing"
    FILLS = "fills"  # runs its blocks and keeps what they added
    REPEATS = "repeats"  # adds what was kept


class StepCache:
    """What the blocks of a stretch added, by the shape of a segment, in memory that stays."""

    def __init__(self, blocks: range) -> None:
        """Take the stretch; an empty one repeats nothing."""
        self.blocks = blocks
        self._added: dict[Hashable, Tensor] = {}

    def reuse(self, *, is_first: bool) -> Reuse:
        """Return what a segment's first step does, or a later one."""
        if not self.blocks:
            return Reuse.NOTHING
        return Reuse.FILLS if is_first else Reuse.REPEATS

    def skips(self, index: int, reuse: Reuse) -> bool:
        """Tell whether a step leaves a block out."""
        return reuse is Reuse.REPEATS and index in self.blocks

    def repeated(self, index: int, residual: Residual, shape: Hashable) -> Residual:
        """Return the stream [R, E] with what the stretch added, once, at its first block."""
        if index != self.blocks.start:
            return residual
        tokens, _ = update(residual, Update(), None)
        return Residual(tokens + self._added[shape])

    def entered(self, index: int, residual: Residual, shape: Hashable, reuse: Reuse) -> Residual:
        """Note the stream as it comes to the stretch."""
        if reuse is not Reuse.FILLS or index != self.blocks.start:
            return residual
        tokens, _ = update(residual, Update(), None)
        if shape not in self._added:
            self._added[shape] = torch.empty_like(tokens)
        self._added[shape].copy_(tokens)
        return Residual(tokens)

    def left(self, index: int, residual: Residual, shape: Hashable, reuse: Reuse) -> Residual:
        """Keep what the stretch added to the stream, as it leaves it."""
        if reuse is not Reuse.FILLS or index != self.blocks.stop - 1:
            return residual
        tokens, _ = update(residual, Update(), None)
        torch.sub(tokens, self._added[shape], out=self._added[shape])
        return Residual(tokens)
