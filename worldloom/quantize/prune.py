"""A narrower VAE decoder cut out of a wide one: the channels with the largest weights stay.

One door for both VAEs; the rules of Wan2.2's decoder are in `prune_wan`. In the small one a channel
of a stage is written by several convolutions (the way up into the stage, and each block's last
one); its score is the sum of the L2 norms of the filters that write it. A block's inner channels
are scored by their own filters. The linear shortcut stays whole. What is lost is learnt back by
distillation, which this module does not know.
"""

from __future__ import annotations

from typing import overload

import torch
from torch import Tensor, nn

from worldloom.model.vae.causal_conv import CausalConv, ChannelNorm, ResidualBlock
from worldloom.model.vae.video_vae import VAEDecoder
from worldloom.model.vae.wan_vae import WanVAEDecoder
from worldloom.quantize.channels import PrunedDecoder, top_channels
from worldloom.quantize.prune_wan import prune_wan_decoder

__all__ = ["PrunedDecoder", "prune_decoder", "pruned_widths", "top_channels"]

WIDTH_MULTIPLE = 4
SHUFFLE = 4


def pruned_widths(widths: tuple[int, ...], removed: float) -> tuple[int, ...]:
    """Return the widths after removing a share of the channels, multiples of four."""
    if not 0 <= removed < 1:
        message = f"removed={removed}: expected a share of the channels in [0, 1)"
        raise ValueError(message)
    return tuple(
        max(WIDTH_MULTIPLE, round(width * (1 - removed) / WIDTH_MULTIPLE) * WIDTH_MULTIPLE)
        for width in widths
    )


@overload
def prune_decoder(decoder: VAEDecoder, removed: float) -> PrunedDecoder[VAEDecoder]: ...
@overload
def prune_decoder(decoder: WanVAEDecoder, removed: float) -> PrunedDecoder[WanVAEDecoder]: ...
def prune_decoder(
    decoder: VAEDecoder | WanVAEDecoder, removed: float
) -> PrunedDecoder[VAEDecoder] | PrunedDecoder[WanVAEDecoder]:
    """Cut out the decoder whose stages lack the `removed` share of the channels.

    Raises:
        ValueError: for a share outside [0, 1).
    """
    if isinstance(decoder, WanVAEDecoder):
        return prune_wan_decoder(decoder, removed)
    return _prune_small(decoder, removed)


@torch.no_grad()
def _prune_small(decoder: VAEDecoder, removed: float) -> PrunedDecoder[VAEDecoder]:
    wide = decoder.config
    narrow = wide.model_copy(update={"decoder_widths": pruned_widths(wide.decoder_widths, removed)})
    kept = [
        top_channels(_stage_scores(decoder, stage), count)
        for stage, count in enumerate(narrow.decoder_widths)
    ]
    small = VAEDecoder(narrow)
    everything = torch.arange(wide.latent_channels)
    small.shortcut.load_state_dict(decoder.shortcut.state_dict())
    small.latent_mean.copy_(decoder.latent_mean)
    small.latent_std.copy_(decoder.latent_std)
    _slice_causal(decoder.conv_in, small.conv_in, kept[0], everything)
    for index, channels in enumerate(kept):
        for source, target in zip(_blocks(decoder, index), _blocks(small, index), strict=True):
            _slice_block(source, target, channels)
        if index:
            shuffled = _shuffled(channels)
            _slice_conv(_up(decoder, index), _up(small, index), shuffled, kept[index - 1])
    _slice_norm(decoder.norm_out, small.norm_out, kept[-1])
    outputs = torch.arange(decoder.conv_out.conv.out_channels)
    _slice_causal(decoder.conv_out, small.conv_out, outputs, kept[-1])
    return PrunedDecoder(small.eval(), kept)


def _stage_scores(decoder: VAEDecoder, stage: int) -> Tensor:
    if stage:
        scores = _filter_norms(_up(decoder, stage)).reshape(-1, SHUFFLE).sum(dim=1)
    else:
        scores = _filter_norms(decoder.conv_in.conv)
    for block in _blocks(decoder, stage):
        scores = scores + _filter_norms(block.conv_out.conv)
    return scores


def _filter_norms(conv: nn.Conv2d) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(conv.weight.flatten(1), dim=1)
    return norms


def _blocks(decoder: VAEDecoder, stage: int) -> list[ResidualBlock]:
    blocks = list(decoder.stages[stage].children())
    return [block for block in blocks if isinstance(block, ResidualBlock)]


def _up(decoder: VAEDecoder, stage: int) -> nn.Conv2d:
    up = decoder.ups[stage - 1]
    assert isinstance(up, nn.Conv2d)
    return up


def _shuffled(channels: Tensor) -> Tensor:
    """Return the rows that a pixel shuffle by two turns into these channels."""
    return (channels[:, None] * SHUFFLE + torch.arange(SHUFFLE)).flatten()


def _slice_block(source: ResidualBlock, target: ResidualBlock, channels: Tensor) -> None:
    inner = top_channels(_filter_norms(source.conv_in.conv), len(channels))
    _slice_norm(source.norm_in, target.norm_in, channels)
    _slice_causal(source.conv_in, target.conv_in, inner, channels)
    _slice_norm(source.norm_out, target.norm_out, inner)
    _slice_causal(source.conv_out, target.conv_out, channels, inner)


def _slice_causal(source: CausalConv, target: CausalConv, rows: Tensor, columns: Tensor) -> None:
    """Slice a convolution whose inputs are the same channels at several times, side by side."""
    times = source.num_past + 1
    width = source.conv.in_channels // times
    at_all_times = torch.cat([columns + time * width for time in range(times)])
    _slice_conv(source.conv, target.conv, rows, at_all_times)


def _slice_conv(source: nn.Conv2d, target: nn.Conv2d, rows: Tensor, columns: Tensor) -> None:
    target.weight.copy_(source.weight[rows][:, columns])
    if source.bias is not None and target.bias is not None:
        target.bias.copy_(source.bias[rows])


def _slice_norm(source: ChannelNorm, target: ChannelNorm, channels: Tensor) -> None:
    target.weight.copy_(source.weight[channels])
