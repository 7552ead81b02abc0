"""The VAE of Wan2.2 over a whole sequence, transcribed by the public weights' names; not a test.

Written from the facts of the public `vae2_2.py`, without any of the project's code and without its
stream: no cache, no chunks, every convolution sees all frames at once. What the public code does
chunk by chunk, one frame and then four at a time, comes to this:

* a causal convolution is led by zeros;
* where time is halved, frame 0 passes by the convolution, and the averaging shortcut pairs it with
  a frame of zeros before it;
* where time is doubled, frame 0 passes by too and is no past of frame 1, and the duplicating
  shortcut gives it one frame.

Weights are counted as they are read, so that none is forgotten or used twice.

Letters: B batch, C channels, T frames of any rate, H W rows and columns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

STAGES = 4
HALVED_IN_TIME = (False, True, True)  # of the encoder's stages but the coarsest, finest first
ENCODER_BLOCKS, DECODER_BLOCKS = 2, 3
PIXEL_PATCH = 2


class Weights:
    """Tensors by their public names below a prefix; `used` counts each one's reading."""

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        prefix: str = "",
        used: Counter[str] | None = None,
    ) -> None:
        self._tensors, self._prefix = tensors, prefix
        self.used: Counter[str] = Counter() if used is None else used

    def under(self, name: str | int) -> Weights:
        """Return the weights whose names go on with `name` and a dot."""
        return Weights(self._tensors, f"{self._prefix}{name}.", self.used)

    def has(self, name: str) -> bool:
        """Return whether there is a weight of that name."""
        return self._prefix + name in self._tensors

    def __getitem__(self, name: str) -> Tensor:
        full = self._prefix + name
        self.used[full] += 1
        return self._tensors[full]


def encode(weights: Weights, video: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """Return normalised latents [B, C, 1 + (F - 1) / 4, Y / 16, X / 16] of a video [B, 3, F, Y, X].

    Args:
        weights: of the whole VAE.
        video: 4n + 1 frames in [-1, 1].
        mean: of each raw latent channel.
        deviation: of each raw latent channel.
    """
    own = weights.under("encoder")
    x = _causal(own.under("conv1"), _folded(video))
    for index in range(STAGES):
        halves_space = index < STAGES - 1
        halves_time = halves_space and HALVED_IN_TIME[index]
        stage = own.under("downsamples").under(index).under("downsamples")
        branch = x
        for block in range(ENCODER_BLOCKS):
            branch = _block(stage.under(block), branch)
        if halves_space:
            branch = _halved(stage.under(ENCODER_BLOCKS), branch, halves_time)
        x = branch + _averaged(
            x, branch.shape[1], 2 if halves_time else 1, 2 if halves_space else 1
        )
    x = _head(own.under("head"), _middle(own.under("middle"), x))
    x = _causal(weights.under("conv1"), x)
    raw = x[:, : x.shape[1] // 2]  # the other half is the logarithm of a variance
    return (raw - _by_channel(mean)) / _by_channel(deviation)


def decode(weights: Weights, latents: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """Return the video [B, 3, 4 T - 3, 16 H, 16 W] of normalised latents, not clamped."""
    own = weights.under("decoder")
    raw = latents * _by_channel(deviation) + _by_channel(mean)
    x = _causal(own.under("conv1"), _causal(weights.under("conv2"), raw))
    x = _middle(own.under("middle"), x)
    for index in range(STAGES):
        doubles_space = index < STAGES - 1
        doubles_time = doubles_space and HALVED_IN_TIME[::-1][index]
        stage = own.under("upsamples").under(index).under("upsamples")
        branch = x
        for block in range(DECODER_BLOCKS):
            branch = _block(stage.under(block), branch)
        if doubles_space:
            branch = _doubled(stage.under(DECODER_BLOCKS), branch, doubles_time)
            branch = branch + _repeated(x, branch.shape[1], 2 if doubles_time else 1)
        x = branch
    return _unfolded(_head(own.under("head"), x))


def _causal(weights: Weights, x: Tensor) -> Tensor:
    weight = weights["weight"]
    time, rows, cols = weight.shape[2:]
    led = functional.pad(x, (cols // 2, cols // 2, rows // 2, rows // 2, time - 1, 0))
    return functional.conv3d(led, weight, weights["bias"])


def _norm(weights: Weights, x: Tensor) -> Tensor:
    length = x.square().sum(dim=1, keepdim=True).sqrt().clamp_min(1e-12)
    scale: float = x.shape[1] ** 0.5
    return x / length * scale * weights["gamma"]


def _silu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


def _block(weights: Weights, x: Tensor) -> Tensor:
    own = weights.under("residual")
    branch = _causal(own.under(2), _silu(_norm(own.under(0), x)))
    branch = _causal(own.under(6), _silu(_norm(own.under(3), branch)))
    if weights.has("shortcut.weight"):
        x = _causal(weights.under("shortcut"), x)
    return x + branch


def _middle(weights: Weights, x: Tensor) -> Tensor:
    x = _block(weights.under(0), x)
    x = x + _frame_attention(weights.under(1), x)
    return _block(weights.under(2), x)


def _frame_attention(weights: Weights, x: Tensor) -> Tensor:
    """Return what the positions of each frame hear of each other, with one head."""
    batch, channels, time, rows, cols = x.shape
    frames = x.transpose(1, 2).reshape(batch * time, channels, rows, cols)
    joined = _pointwise(weights.under("to_qkv"), _norm(weights.under("norm"), frames))
    query, key, value = joined.flatten(2).split(channels, dim=1)
    shares = torch.softmax(query.transpose(1, 2) @ key / channels**0.5, dim=-1)
    heard = (value @ shares.transpose(1, 2)).reshape(frames.shape)
    out = _pointwise(weights.under("proj"), heard)
    return out.reshape(batch, time, channels, rows, cols).transpose(1, 2)


def _pointwise(weights: Weights, frames: Tensor) -> Tensor:
    mixed = torch.einsum("oc,nchw->nohw", weights["weight"][:, :, 0, 0], frames)
    return mixed + weights["bias"][:, None, None]


def _head(weights: Weights, x: Tensor) -> Tensor:
    return _causal(weights.under(2), _silu(_norm(weights.under(0), x)))


def _halved(weights: Weights, x: Tensor, halves_time: bool) -> Tensor:
    """Halve rows and columns (zeros behind the last), then the frames behind frame 0."""
    x = _by_frame(weights.under("resample").under(1), functional.pad(x, (0, 1, 0, 1)), stride=2)
    if not halves_time:
        return x
    own = weights.under("time_conv")
    weight, bias = own["weight"], own["bias"]
    if x.shape[2] == 1:
        return x
    paired = functional.conv3d(x, weight, bias, stride=(2, 1, 1))
    return torch.cat([x[:, :, :1], paired], dim=2)


def _doubled(weights: Weights, x: Tensor, doubles_time: bool) -> Tensor:
    """Double the frames behind frame 0, then rows and columns."""
    if doubles_time:
        own = weights.under("time_conv")
        weight, bias = own["weight"], own["bias"]
        rest = x[:, :, 1:]
        if rest.shape[2]:
            both = functional.conv3d(functional.pad(rest, (0, 0, 0, 0, 2, 0)), weight, bias)
            early, late = both.chunk(2, dim=1)
            rest = torch.stack([early, late], dim=3).flatten(2, 3)
        x = torch.cat([x[:, :, :1], rest], dim=2)
    wide = x.repeat_interleave(2, dim=3).repeat_interleave(2, dim=4)
    return _by_frame(weights.under("resample").under(1), functional.pad(wide, (1, 1, 1, 1)))


def _by_frame(weights: Weights, padded: Tensor, stride: int = 1) -> Tensor:
    """Convolve each frame alone."""
    weight = weights["weight"][:, :, None]
    return functional.conv3d(padded, weight, weights["bias"], stride=(1, stride, stride))


def _averaged(x: Tensor, num_out: int, by_time: int, by_space: int) -> Tensor:
    """Return the encoder's shortcut: means of groups of (channel, frame, row, column)."""
    x = functional.pad(x, (0, 0, 0, 0, -x.shape[2] % by_time, 0))
    parts = [
        x[:, :, time::by_time, row::by_space, col::by_space]
        for time in range(by_time)
        for row in range(by_space)
        for col in range(by_space)
    ]
    pooled = torch.stack(parts, dim=2).flatten(1, 2)
    return torch.stack([group.mean(dim=1) for group in pooled.chunk(num_out, dim=1)], dim=1)


def _repeated(x: Tensor, num_out: int, by_time: int) -> Tensor:
    """Return the decoder's shortcut: channels dealt out over (frame, row, column), repeatedly."""
    batch, channels, time, rows, cols = x.shape
    places = by_time * 4
    copies = num_out * places // channels
    out = x.new_zeros(batch, num_out, time * by_time, 2 * rows, 2 * cols)
    for channel in range(num_out):
        for place in range(places):
            source = x[:, (channel * places + place) // copies]
            late, row, col = place // 4, place // 2 % 2, place % 2
            out[:, channel, late::by_time, row::2, col::2] = source
    return out[:, :, by_time - 1 :]  # frame 0 is one frame


def _folded(video: Tensor) -> Tensor:
    """Gather squares of pixels: colour slowest, then the column in the square, then the row."""
    squares = range(PIXEL_PATCH)
    parts = [
        video[:, colour, :, row::PIXEL_PATCH, col::PIXEL_PATCH]
        for colour in range(video.shape[1])
        for col in squares
        for row in squares
    ]
    return torch.stack(parts, dim=1)


def _unfolded(x: Tensor) -> Tensor:
    """Undo `_folded`."""
    batch, channels, time, rows, cols = x.shape
    colours = channels // PIXEL_PATCH**2
    video = x.new_zeros(batch, colours, time, rows * PIXEL_PATCH, cols * PIXEL_PATCH)
    for channel in range(channels):
        colour, place = divmod(channel, PIXEL_PATCH**2)
        col, row = divmod(place, PIXEL_PATCH)
        video[:, colour, :, row::PIXEL_PATCH, col::PIXEL_PATCH] = x[:, channel]
    return video


def _by_channel(values: Tensor) -> Tensor:
    return values[:, None, None, None]
