"""Actions into tokens, after GameFactory as Matrix-Game 3.0 uses it (its first blocks only).

A latent reads a window of actions. The mouse enters by self-attention over the segment's latents at
each place (tokens joined with the window), the keyboard by cross-attention over time from tokens to
the embedded keys. Heads are RMS-normed and some of their channels turn with the latent's number;
memory latents count from an origin of their own. Both outputs start at zero.
It does not know poses: where the camera goes is `camera_injection`'s matter.

Letters: B batch, T latents, P places (tokens of a latent), W frames of a window, E width, H inner
width, N heads, D channels of a head.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldloom.actions import NUM_KEYS, NUM_MOUSE_AXES
from worldloom.model.attention import attend
from worldloom.model.config import TransformerConfig
from worldloom.model.rope import Frequencies, Rotation, rotate

_THETA = 256.0
_EPS = 1e-6


class ActionModule(nn.Module):
    """Add what mouse and keyboard say to the tokens of a segment."""

    def __init__(self, config: TransformerConfig) -> None:
        """Build both paths for windows of `config.action_window_frames` actions."""
        super().__init__()
        dim, hidden_dim, window = config.dim, config.action_dim, config.action_window_frames
        head_dim = hidden_dim // config.action_num_heads
        self.num_heads = config.action_num_heads
        self.mouse_in = nn.Sequential(
            nn.Linear(dim + NUM_MOUSE_AXES * window, hidden_dim),
            nn.GELU(approximate="tanh"),
            nn.Linear(hidden_dim, hidden_dim),
            nn.LayerNorm(hidden_dim),
        )
        self.mouse_qkv = nn.Linear(hidden_dim, 3 * hidden_dim, bias=False)
        self.mouse_norm_q = nn.RMSNorm(head_dim, eps=_EPS)
        self.mouse_norm_k = nn.RMSNorm(head_dim, eps=_EPS)
        self.mouse_out = nn.Linear(hidden_dim, dim, bias=False)
        self.keyboard_embed = nn.Sequential(
            nn.Linear(NUM_KEYS, config.action_key_dim),
            nn.SiLU(),
            nn.Linear(config.action_key_dim, config.action_key_dim),
        )
        self.keyboard_q = nn.Linear(dim, hidden_dim, bias=False)
        self.keyboard_kv = nn.Linear(config.action_key_dim * window, 2 * hidden_dim, bias=False)
        self.keyboard_norm_q = nn.RMSNorm(head_dim, eps=_EPS)
        self.keyboard_norm_k = nn.RMSNorm(head_dim, eps=_EPS)
        self.keyboard_out = nn.Linear(hidden_dim, dim, bias=False)
        for layer in (self.mouse_out, self.keyboard_out):
            nn.init.zeros_(layer.weight)
        self.frequencies = Frequencies(
            lambda: rotary_frequencies(config.action_rotary_dim, head_dim)
        )

    def forward(
        self,
        x_BTPE: Float[Tensor, "B T P E"],
        keyboard_BTWK: Float[Tensor, "B T W K"],
        mouse_BTWM: Float[Tensor, "B T W M"],
        num_memory: int = 0,
    ) -> Float[Tensor, "B T P E"]:
        """Return tokens with the actions' say added; the first `num_memory` latents are memory."""
        rotation = self.rotation(x_BTPE.shape[1], num_memory)
        x_BTPE = x_BTPE + self._mouse(x_BTPE, mouse_BTWM.flatten(2), rotation)
        keys_BTA = self.keyboard_embed(keyboard_BTWK).flatten(2)
        return x_BTPE + self._keyboard(x_BTPE, keys_BTA, rotation)

    def _mouse(self, x_BTPE: Tensor, window_BTA: Tensor, rotation: Rotation) -> Tensor:
        spread = window_BTA[:, :, None].expand(-1, -1, x_BTPE.shape[2], -1).to(x_BTPE.dtype)
        hidden = self.mouse_in(torch.cat([x_BTPE, spread], dim=-1))
        query, key, value = self._heads(self.mouse_qkv(hidden), 3)
        if _is_single(x_BTPE):
            only: Tensor = self.mouse_out(value.flatten(3))
            return only
        query = self._by_place(self.mouse_norm_q(query), rotation)
        key = self._by_place(self.mouse_norm_k(key), rotation)
        out = attend(query, key, self._by_place(value))
        said: Tensor = self.mouse_out(self._by_time(out, len(x_BTPE)))
        return said

    def _keyboard(self, x_BTPE: Tensor, keys_BTA: Tensor, rotation: Rotation) -> Tensor:
        key, value = self._heads(self.keyboard_kv(keys_BTA)[:, :, None], 2)
        if _is_single(x_BTPE):
            only: Tensor = self.keyboard_out(value.flatten(3))
            return only
        (query,) = self._heads(self.keyboard_q(x_BTPE), 1)
        query = self._by_place(self.keyboard_norm_q(query), rotation)
        key = self._by_place(self.keyboard_norm_k(key), rotation)
        places = x_BTPE.shape[2]
        # Keys are the same at every place of a latent.
        key, value = (x.repeat_interleave(places, dim=0) for x in (key, self._by_place(value)))
        said: Tensor = self.keyboard_out(self._by_time(attend(query, key, value), len(x_BTPE)))
        return said

    def rotation(self, latents: int, num_memory: int) -> Rotation:
        """Return (cosine, sine) [1, T, 1, D/2] of a segment's latents, memory first."""
        table = self.frequencies.table
        number = torch.arange(latents, device=table.device)
        number = torch.where(number < num_memory, number, number - num_memory)
        angles = (number[:, None] * table)[None, :, None]
        return angles.cos(), angles.sin()

    def _heads(self, x: Tensor, count: int) -> tuple[Tensor, ...]:
        """Split [B, T, P, count H] into `count` tensors [B, T, P, N, D]."""
        heads: Tensor = x.unflatten(-1, (count, self.num_heads, -1))
        return heads.unbind(-3)

    def _by_place(self, x: Tensor, rotation: Rotation | None = None) -> Tensor:
        """Turn [B, T, P, N, D] into [B P, N, T, D], rotated in time where asked."""
        by_place = x.transpose(1, 2).flatten(0, 1)
        if rotation is not None:
            by_place = rotate(by_place, rotation).to(x.dtype)
        return by_place.transpose(1, 2)

    def _by_time(self, out: Tensor, batch: int) -> Tensor:
        """Undo `_by_place` and join the heads: [B, T, P, H]."""
        heads: Tensor = out.unflatten(0, (batch, -1))
        return heads.permute(0, 3, 1, 2, 4).flatten(3)


def _is_single(x_BTPE: Tensor) -> bool:
    """Tell whether there is one latent: what attends over time then sees that value alone."""
    return x_BTPE.shape[1] == 1


def rotary_frequencies(rotary_dim: int, head_dim: int) -> Float[Tensor, " P"]:
    """Return 256 ** (-2 i / rotary_dim) for the channels that turn, 0 for the rest."""
    turning = _THETA ** -(torch.arange(0, rotary_dim, 2, dtype=torch.float64) / rotary_dim)
    still = torch.zeros((head_dim - rotary_dim) // 2, dtype=torch.float64)
    return torch.cat([turning, still])
