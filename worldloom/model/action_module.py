"""Actions into tokens, after GameFactory as Matrix-Game 3.0 uses it (its first blocks only).

A latent reads a window of actions: its own four frames and those before it. The mouse enters by
self-attention over the segment's latents at each place (tokens joined with the window), the
keyboard by cross-attention from tokens to the embedded keys. Both outputs start at zero.
It does not know poses: where the camera goes is `camera_injection`'s matter.

Letters: B batch, T latents, P places (tokens of a latent), W frames of a window, E width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from worldloom.actions import NUM_KEYS, NUM_MOUSE_AXES
from worldloom.model.attention import attend

_KEY_EMBED_DIM = 16


class ActionModule(nn.Module):
    """Add what mouse and keyboard say to the tokens of a segment."""

    def __init__(self, dim: int, hidden_dim: int, num_heads: int, window_frames: int) -> None:
        """Build both paths for a window of `window_frames` actions."""
        super().__init__()
        self.num_heads = num_heads
        self.mouse_in = nn.Sequential(
            nn.Linear(dim + NUM_MOUSE_AXES * window_frames, hidden_dim),
            nn.GELU(approximate="tanh"),
            nn.Linear(hidden_dim, hidden_dim),
        )
        self.mouse_qkv = nn.Linear(hidden_dim, 3 * hidden_dim)
        self.mouse_out = nn.Linear(hidden_dim, dim)
        self.keyboard_embed = nn.Sequential(
            nn.Linear(NUM_KEYS, _KEY_EMBED_DIM),
            nn.SiLU(),
            nn.Linear(_KEY_EMBED_DIM, _KEY_EMBED_DIM),
        )
        self.keyboard_q = nn.Linear(dim, hidden_dim)
        self.keyboard_kv = nn.Linear(_KEY_EMBED_DIM * window_frames, 2 * hidden_dim)
        self.keyboard_out = nn.Linear(hidden_dim, dim)
        for layer in (self.mouse_out, self.keyboard_out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x_BTPE: Tensor, keyboard_BTWK: Tensor, mouse_BTWM: Tensor) -> Tensor:
        """Return tokens [B, T, P, E] with the actions' say added."""
        x_BTPE = x_BTPE + self._mouse(x_BTPE, mouse_BTWM.flatten(2))
        return x_BTPE + self._keyboard(x_BTPE, self.keyboard_embed(keyboard_BTWK).flatten(2))

    def _mouse(self, x_BTPE: Tensor, window_BTA: Tensor) -> Tensor:
        batch, latents, places, _ = x_BTPE.shape
        spread = window_BTA[:, :, None].expand(-1, -1, places, -1).to(x_BTPE.dtype)
        hidden = self.mouse_in(torch.cat([x_BTPE, spread], dim=-1))
        query, key, value = self.mouse_qkv(hidden).chunk(3, dim=-1)
        out = self._attend_over_time(query, key, value)
        said: Tensor = self.mouse_out(out)
        return said.view(batch, latents, places, -1)

    def _keyboard(self, x_BTPE: Tensor, keys_BTA: Tensor) -> Tensor:
        key, value = self.keyboard_kv(keys_BTA)[:, :, None].chunk(2, dim=-1)
        places = x_BTPE.shape[2]
        query = self.keyboard_q(x_BTPE)
        out = self._attend_over_time(
            query, key.expand(-1, -1, places, -1), value.expand(-1, -1, places, -1)
        )
        said: Tensor = self.keyboard_out(out)
        return said

    def _attend_over_time(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend over T at each place; all are [B, T, P, H]."""
        batch, latents, places, width = query.shape

        def by_place(x: Tensor) -> Tensor:
            heads = x.reshape(batch, latents, places, self.num_heads, -1)
            return heads.permute(0, 2, 3, 1, 4).flatten(0, 1)

        position = torch.arange(latents, device=query.device, dtype=query.dtype)
        distance = -(position[:, None] - position[None, :]).abs()
        slopes = 2.0 ** -torch.arange(self.num_heads, device=query.device, dtype=query.dtype)
        bias = slopes[:, None, None] * distance
        out = attend(by_place(query), by_place(key), by_place(value), bias)
        heads = out.view(batch, places, self.num_heads, latents, -1)
        return heads.permute(0, 3, 1, 2, 4).reshape(batch, latents, places, width)
