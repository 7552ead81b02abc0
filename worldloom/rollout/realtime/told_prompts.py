"""What a prompt says to every block, worked out once for as long as it stays the same.

Graphs read it where it lies, so a new prompt is written over the old one. It does not know
sessions.

Letters: B samples, W words, N heads, D channels of a head.
"""

from __future__ import annotations

from jaxtyping import Shaped
from torch import Tensor

from worldloom.model.attention import BlockContext
from worldloom.model.transformer import WorldModelTransformer


class ToldPrompts:
    """What the latest prompt of each batch size says to the blocks, in memory that stays."""

    def __init__(self, network: WorldModelTransformer) -> None:
        """Take the network whose blocks read prompts."""
        self._network = network
        self._latest: dict[int, Tensor] = {}
        self._told: dict[int, list[BlockContext | None]] = {}

    def told(self, prompt: Shaped[Tensor, "B words *width"]) -> list[BlockContext | None]:
        """Return each block's keys and values [B, W, N, D], worked out for another prompt alone."""
        batch, latest = len(prompt), self._latest.get(len(prompt))
        is_same = latest is not None and (
            (latest.data_ptr(), latest.shape) == (prompt.data_ptr(), prompt.shape)
        )
        if not is_same:
            self._work_out(prompt)
            self._latest[batch] = prompt  # held, so that no other prompt can lie where it lies
        return self._told[batch]

    def _work_out(self, prompt: Tensor) -> None:
        network, batch = self._network, len(prompt)
        words = prompt if network.text_encoder is None else network.text_encoder(prompt)
        words_BWE = network.text_embed(words.to(network.dtype))
        said = [
            None if block.cross_attn is None else block.cross_attn.keys_values(words_BWE)
            for block in network.typed_blocks()
        ]
        if batch not in self._told:
            self._told[batch] = said
            return
        for mine, its in zip(self._told[batch], said, strict=True):
            if mine is not None and its is not None:
                mine.keys.copy_(its.keys)
                mine.values.copy_(its.values)
