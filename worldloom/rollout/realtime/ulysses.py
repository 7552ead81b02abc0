"""Sequence parallelism (Ulysses): each process has a share of every latent's places.

Everything but self-attention works on tokens, or on the latents of one place, so a process needs
nothing of the others there. For self-attention queries, keys and values change hands: from all
heads of a share of the tokens to a share of the heads of all tokens, and back (Jacobs et al. 2023,
DeepSpeed Ulysses). Attention does not mind the order of keys, so shares are simply put behind one
another. Exchanges are captured in the graphs of a network that shares its tokens, so such a network
must be gone before the process group is destroyed. It does not know blocks, nor what tokens hold.

Letters: B samples, T latents, P places, p places of a share, L own tokens (T p), S all tokens
(T P), N heads, n heads of a share, D channels of a head, E width, W processes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from worldloom.errors import ConfigError
from worldloom.model.config import TransformerConfig
from worldloom.model.rope import Rotation
from worldloom.quantize.rows import FP8
from worldloom.rollout.realtime.attention_memory import (
    FullMemory,
    Mask,
    Rows,
    Size,
    empty_values,
    fp8_attention,
    lay_values,
    read_heads,
)
from worldloom.rollout.realtime.product import Product
from worldloom.rollout.realtime.rows import turn_into


@dataclass(frozen=True)
class PlaceShare:
    """Which places this process has."""

    rank: int
    num_processes: int

    @classmethod
    def of_this_process(cls, config: TransformerConfig) -> PlaceShare:
        """Return the share of this process among all of torch's default group.

        Raises:
            ConfigError: for heads or places that do not divide, or a layout that has a context.
        """
        share = cls(dist.get_rank(), dist.get_world_size())
        share.require_fit(config)
        return share

    def require_fit(self, config: TransformerConfig) -> None:
        """Raise `ConfigError` unless a shape can be shared by so many processes."""
        if config.layout != "reference":
            message = (
                f"layout {config.layout!r} on {self.num_processes} processes: expected 'reference',"
                " whose tokens are all of one sequence"
            )
            raise ConfigError(message)
        for what, count in (
            ("num_heads", config.num_heads),
            ("tokens of a latent", config.tokens_per_latent_frame),
        ):
            if count % self.num_processes:
                message = (
                    f"{what} {count} on {self.num_processes} processes: expected a multiple of "
                    "their number"
                )
                raise ConfigError(message)

    def of_places(self, x: Shaped[Tensor, "B T P *rest"]) -> Shaped[Tensor, "B T p *rest"]:
        """Return this process's places."""
        return x.chunk(self.num_processes, dim=2)[self.rank]

    def gathered(self, x: Float[Tensor, "B T p *rest"]) -> Float[Tensor, "B T P *rest"]:
        """Return the places of all processes, in order."""
        parts = x.new_empty(self.num_processes * len(x), *x.shape[1:])
        dist.all_gather_into_tensor(parts, x.contiguous())
        whole: Tensor = parts.unflatten(0, (self.num_processes, -1)).movedim(0, 2).flatten(2, 3)
        return whole

    def all_say(self, answer: bool, device: torch.device) -> bool:
        """Return whether every process says yes, so that all of them do the same."""
        said = torch.tensor([int(answer)], device=device)
        dist.all_reduce(said, dist.ReduceOp.MIN)
        return bool(said.item())


class UlyssesMemory(FullMemory):
    """Keys and values of a share of the tokens, read together with those of the other processes."""

    def __init__(
        self, share: PlaceShare, size: Size, dtype: torch.dtype, device: torch.device
    ) -> None:
        """Allocate B samples of this process's tokens."""
        super().__init__(size, dtype, device)
        self._share = share

    def read(
        self, query: Product, norm: nn.RMSNorm, rotation: Rotation, mask: Mask | None = None
    ) -> Rows:
        """Return what this process's queries see of all tokens."""
        assert mask is None, "all tokens of a shared sequence are there"
        turned = torch.empty_like(self.keys)
        turn_into(turned, 0, query, norm, rotation)
        mine = torch.stack([turned, self.keys, self.values])
        whole = tokens_for_heads(mine, self._share.num_processes)
        rows = read_heads(whole[0], whole[1], whole[2])
        read = rows.view(whole[0].shape)[None]
        back = heads_for_tokens(read, self._share.num_processes)[0]
        return back.flatten(2).flatten(0, 1)


class UlyssesFp8Memory:
    """The same in FP8 (GPUs only): what changes hands is half as much, and our kernel reads it."""

    def __init__(self, share: PlaceShare, size: Size, device: torch.device) -> None:
        """Allocate B samples of this process's tokens, and the values of all for its heads."""
        self._share = share
        batch, length, heads, head_dim = size
        count = share.num_processes
        self._mine = torch.zeros(3, *size, dtype=FP8, device=device)  # queries, keys, values
        self._values = empty_values((batch, length * count, heads // count, head_dim), device)

    def write_keys(
        self,
        first_row: int,
        keys: Product,
        norm: nn.RMSNorm | None,
        rotation: Rotation,
        plain: Rows | None = None,
    ) -> None:
        """Write normed and turned keys from a row on."""
        turn_into(self._mine[1], first_row, keys, norm, rotation, plain)

    def write_values(
        self,
        first_row: int,
        values: Product,
        rotation: Rotation | None,
        plain: Rows | None = None,
    ) -> None:
        """Write values from a row on, turned where a rotation is given."""
        turn_into(self._mine[2], first_row, values, None, rotation, plain)

    def read(
        self, query: Product, norm: nn.RMSNorm, rotation: Rotation, mask: Mask | None = None
    ) -> Rows:
        """Return what this process's queries see of all tokens."""
        assert mask is None, "all tokens of a shared sequence are there"
        turn_into(self._mine[0], 0, query, norm, rotation)
        queries, keys, values = tokens_for_heads(self._mine, self._share.num_processes)
        lay_values(Product(values.flatten(2).flatten(0, 1)), self._values, len(values), 0)
        rows = fp8_attention(queries, keys, self._values, query.sums.dtype)
        back = heads_for_tokens(rows.view(queries.shape)[None], self._share.num_processes)[0]
        return back.flatten(2).flatten(0, 1)


def tokens_for_heads(
    x: Float[Tensor, "kinds B L N D"], num_processes: int
) -> Float[Tensor, "kinds B S n D"]:
    """Give away all but a share of the heads, for that share of everybody's tokens."""
    by_heads = x.unflatten(3, (num_processes, -1)).movedim(3, 0)  # [W, kinds, B, L, n, D]
    received = _exchanged(by_heads)
    whole: Tensor = received.movedim(0, 2).flatten(2, 3)
    return whole.contiguous()


def heads_for_tokens(
    x: Float[Tensor, "kinds B S n D"], num_processes: int
) -> Float[Tensor, "kinds B L N D"]:
    """Undo `tokens_for_heads`."""
    by_tokens = x.unflatten(2, (num_processes, -1)).movedim(2, 0)  # [W, kinds, B, L, n, D]
    received = _exchanged(by_tokens)
    own: Tensor = received.movedim(0, 3).flatten(3, 4)
    return own


def _exchanged(x: Tensor) -> Tensor:
    """Send part i of [W, ...] to process i, and return what came, by sender."""
    x = x.contiguous()
    received = torch.empty_like(x)
    # Bytes travel alike, whatever they mean; not every backend knows what FP8 means.
    is_fp8 = x.dtype == FP8
    parts = (received.view(torch.uint8), x.view(torch.uint8)) if is_fp8 else (received, x)
    dist.all_to_all_single(*parts)
    return received
