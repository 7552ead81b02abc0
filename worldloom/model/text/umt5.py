"""umT5's encoder: prompt tokens to the embeddings that the public world models attend to.

Pre-norm blocks with RMS norms, attention without scaling and with a learned bias for relative
positions in every block, and a gated GELU (tanh) feed-forward; no biases. Norms and softmax are
computed in float32, the residual stream in the weights' type. It does not know text, nor files.

Letters: B batch, L tokens, N heads, D channels of a head, E width.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from worldloom.model.text.umt5_config import UMT5Config, distance_buckets

Tokens = Int[Tensor, "B L"]
Mask = Bool[Tensor, "B L"]  # true: a token of the prompt, false: padding
Stream = Float[Tensor, "B L E"]
Buckets = Int[Tensor, "L L"]


class UMT5Encoder(nn.Module):
    """The encoder at any size; `UMT5Encoder(UMT5_XXL)` on the meta device is the public one."""

    def __init__(self, config: UMT5Config) -> None:
        """Build the layers with T5's initialisation."""
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.vocabulary, config.dim)
        self.blocks = nn.ModuleList(UMT5Block(config) for _ in range(config.num_blocks))
        self.norm = RMSNorm(config.dim, config.norm_eps)

    def forward(self, tokens: Tokens, mask: Mask) -> Stream:
        """Return an embedding of each token; those of padding mean nothing."""
        buckets = relative_position_buckets(self.config, tokens.shape[1], tokens.device)
        x_BLE: Tensor = self.token_embedding(tokens)
        for block in self.blocks:
            x_BLE = block(x_BLE, mask, buckets)
        normed: Tensor = self.norm(x_BLE)
        return normed


class UMT5Block(nn.Module):
    """Attention, then feed-forward, each on the norm of the residual stream."""

    def __init__(self, config: UMT5Config) -> None:
        super().__init__()
        self.norm1 = RMSNorm(config.dim, config.norm_eps)
        self.self_attn = BiasedAttention(config)
        self.norm2 = RMSNorm(config.dim, config.norm_eps)
        self.ffn = GatedFeedForward(config)

    def forward(self, x_BLE: Stream, mask: Mask, buckets: Buckets) -> Stream:
        """Return the residual stream after this block."""
        x_BLE = x_BLE + self.self_attn(self.norm1(x_BLE), mask, buckets)
        fed: Tensor = x_BLE + self.ffn(self.norm2(x_BLE))
        return fed


class BiasedAttention(nn.Module):
    """Attention in both directions whose scores carry a bias for the relative position."""

    def __init__(self, config: UMT5Config) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        dim, inner = config.dim, config.attention_dim
        # Scores are not divided by the root of head_dim; the query's weights are smaller instead.
        self.q = _linear(dim, inner, std=(dim * config.head_dim) ** -0.5)
        self.k = _linear(dim, inner, std=dim**-0.5)
        self.v = _linear(dim, inner, std=dim**-0.5)
        self.o = _linear(inner, dim, std=inner**-0.5)
        self.position_bias = nn.Embedding(config.num_buckets, config.num_heads)
        nn.init.normal_(self.position_bias.weight, std=dim**-0.5)

    def forward(self, x_BLE: Stream, mask: Mask, buckets: Buckets) -> Stream:
        """Return what each token reads from the prompt's tokens."""
        query, key, value = (
            layer(x_BLE).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for layer in (self.q, self.k, self.v)
        )
        bias_NLL = self.position_bias(buckets).permute(2, 0, 1)
        # The least number instead of infinity: a row of padding alone stays finite.
        least = torch.finfo(bias_NLL.dtype).min
        bias_BNLL = bias_NLL.masked_fill(~mask[:, None, None, :], least)
        read_BNLD = F.scaled_dot_product_attention(query, key, value, bias_BNLL, scale=1.0)
        read: Tensor = self.o(read_BNLD.transpose(1, 2).flatten(-2))
        return read


class GatedFeedForward(nn.Module):
    """down(gelu(gate(x)) up(x)), with the tanh approximation of GELU."""

    def __init__(self, config: UMT5Config) -> None:
        super().__init__()
        self.gate = _linear(config.dim, config.ffn_dim, std=config.dim**-0.5)
        self.up = _linear(config.dim, config.ffn_dim, std=config.dim**-0.5)
        self.down = _linear(config.ffn_dim, config.dim, std=config.ffn_dim**-0.5)

    def forward(self, x_BLE: Stream) -> Stream:
        """Return the layer's output."""
        fed: Tensor = self.down(F.gelu(self.gate(x_BLE), approximate="tanh") * self.up(x_BLE))
        return fed


class RMSNorm(nn.Module):
    """x over its root mean square, in float32, times a weight in the weight's own type."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x_BLE: Stream) -> Stream:
        """Return the normed stream."""
        wide = x_BLE.float()
        normed = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return normed.to(self.weight.dtype) * self.weight


def relative_position_buckets(
    config: UMT5Config, length: int, device: torch.device | str = "cpu"
) -> Buckets:
    """Return the bucket of key j as query i sees it, at [i, j]; the upper half is for j > i."""
    near = torch.tensor(
        distance_buckets(config.num_buckets, config.max_distance), dtype=torch.long, device=device
    )
    place = torch.arange(length, device=device)
    offset = place[None, :] - place[:, None]
    bucket = near[offset.abs().clamp(max=config.max_distance)]
    return bucket + (offset > 0) * (config.num_buckets // 2)


def _linear(inputs: int, outputs: int, *, std: float) -> nn.Linear:
    layer = nn.Linear(inputs, outputs, bias=False)
    nn.init.normal_(layer.weight, std=std)
    return layer
