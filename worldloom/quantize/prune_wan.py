"""A narrower decoder cut out of the Wan2.2 VAE's: in every group the strongest channels stay.

A channel's energy is the squared L2 norm of all filters (and biases) that write it. What may be
chosen is bound by what is added up. A residual stream has the same channels from its first to its
last block, and `duplicate_up` carries them over to the next stage: there, output channel o is made
of input channels n o .. n o + n - 1. So all streams that a shortcut joins are chosen together, by
the channels of the last of them; free are a block's inner channels, attention's, and the streams
that a stage projects anew. Norms and attention divide by what all channels hold together, so their
gains are set to what the kept ones hold. If what goes is silent, nothing changes. What is lost
otherwise is learnt back by distillation, which this module does not know.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from worldloom.model.vae.wan_vae import WanVAEDecoder
from worldloom.model.vae.wan_vae_config import WanVAEConfig
from worldloom.model.vae.wan_vae_layers import WanResidualBlock
from worldloom.model.vae.wan_vae_stages import DoubleResolution
from worldloom.quantize.channels import PrunedDecoder, top_channels

Rank = Callable[[Tensor], Tensor]


@torch.no_grad()
def prune_wan_decoder(
    decoder: WanVAEDecoder, removed: float, *, shuffle: torch.Generator | None = None
) -> PrunedDecoder[WanVAEDecoder]:
    """Cut out the decoder whose stages lack the `removed` share of the channels.

    Args:
        decoder: a full one.
        removed: share of every stage's channels, in [0, 1).
        shuffle: draws the channels at random, the control that choosing must beat.

    Raises:
        ValueError: for a share outside its range, or a decoder that lacks channels already.
    """
    if decoder.config.decoder_removed:
        message = (
            f"decoder_removed={decoder.config.decoder_removed}: expected a full decoder to prune"
        )
        raise ValueError(message)
    if not 0 <= removed < 1:
        message = f"removed={removed}: expected a share of the channels in [0, 1)"
        raise ValueError(message)
    config = decoder.config.model_copy(update={"decoder_removed": removed})
    slices = plan_slices(decoder, config, shuffle)
    narrow = WanVAEDecoder(config)
    for name, module in narrow.named_modules():
        for kind, parameter in module.named_parameters(recurse=False):
            source = decoder.get_submodule(name).get_parameter(kind)
            parameter.copy_(slices.cut(name, source))
    return PrunedDecoder(narrow.eval(), slices.kept_features)


def plan_slices(
    decoder: WanVAEDecoder, narrow: WanVAEConfig, shuffle: torch.Generator | None = None
) -> WanSlices:
    """Choose what stays of each layer; arguments as in `prune_wan_decoder`."""
    return _Slicer(decoder, narrow, _ranking(shuffle)).slices


@dataclass
class WanSlices:
    """Which rows and columns of each layer's weights stay, and by what they are multiplied."""

    rows: dict[str, Tensor] = field(default_factory=dict)
    columns: dict[str, Tensor] = field(default_factory=dict)
    gains: dict[str, Tensor] = field(default_factory=dict)
    kept_features: list[Tensor] = field(default_factory=list)

    def cut(self, layer: str, parameter: Tensor) -> Tensor:
        """Return what stays of a layer's weight, bias or norm."""
        kept = parameter[self.rows[layer]]
        if layer in self.columns and kept.ndim > 1:
            kept = kept[:, self.columns[layer]]
        if layer in self.gains:
            kept = kept * self.gains[layer].to(kept.dtype).reshape(-1, *(1,) * (kept.ndim - 1))
        return kept


class _Slicer:
    """Goes through a decoder twice: for the energy of its streams, then for its layers' slices."""

    def __init__(self, decoder: WanVAEDecoder, narrow: WanVAEConfig, rank: Rank) -> None:
        self.slices = WanSlices()
        self._decoder = decoder
        self._narrow = narrow
        self._rank = rank
        self._at_norm: dict[str, Tensor] = {}  # a norm's input
        self._joined: list[Tensor] = []  # what enters each stage
        self._inside: list[Tensor] = []  # what each stage's last block leaves
        self._follow_streams()
        self._slice_layers()

    def _follow_streams(self) -> None:
        """Add up who writes the streams, in the order of the decoder."""
        energy = self._follow_block("middle.0", self._energy("conv1"))
        self._at_norm["middle.1.norm"] = energy
        energy = self._follow_block("middle.2", energy + self._energy("middle.1.proj"))
        for stage, num_out in enumerate(self._decoder.config.decoder_widths[1:]):
            self._joined.append(energy)
            for block in self._blocks(stage):
                energy = self._follow_block(block, energy)
            self._inside.append(energy)
            if not self._is_last(stage):
                carried = self._joined[-1].reshape(num_out, -1).mean(dim=1)
                energy = carried + self._energy(f"{self._resolution(stage)}.resample.1")
        self._at_norm["head.0"] = energy

    def _follow_block(self, block: str, energy: Tensor) -> Tensor:
        self._at_norm[f"{block}.residual.0"] = energy
        if self._projects(block):
            energy = self._energy(f"{block}.shortcut")
        return energy + self._energy(f"{block}.residual.6")

    def _slice_layers(self) -> None:
        streams = self._choose_joined_streams()
        latent = torch.arange(self._narrow.latent_channels)
        self._slice("from_latent", latent, latent)
        self._slice("conv1", streams[0], latent)
        self._slice_block("middle.0", streams[0], streams[0])
        self._slice_attention("middle.1", streams[0])
        self._slice_block("middle.2", streams[0], streams[0])
        stream = streams[0]
        self.slices.kept_features.append(stream)
        for stage, num_out in enumerate(self._narrow.decoder_widths[1:]):
            for block in self._blocks(stage):
                entering = stream
                if self._projects(block):
                    stream = top_channels(self._rank(self._inside[stage]), num_out)
                self._slice_block(block, entering, stream)
            if not self._is_last(stage):
                self._slice_resolution(self._resolution(stage), stream, streams[stage + 1])
                stream = streams[stage + 1]
            self.slices.kept_features.append(stream)
        self._slice_norm("head.0", stream, self._at_norm["head.0"])
        self._slice("head.2", torch.arange(self._narrow.patch_channels), stream)

    def _choose_joined_streams(self) -> list[Tensor]:
        """Choose the channels of what enters each stage, together, by the last of them."""
        num_last = len(self._joined[-1])
        grouped = [
            (energy / energy.mean()).reshape(num_last, -1).mean(dim=1) for energy in self._joined
        ]
        scores = self._rank(torch.stack(grouped).sum(dim=0))
        chosen = top_channels(scores, self._narrow.decoder_widths[-2])
        return [_members(chosen, len(energy) // num_last) for energy in self._joined]

    def _slice_block(self, block: str, entering: Tensor, leaving: Tensor) -> None:
        written = self._energy(f"{block}.residual.2")
        inner = top_channels(self._rank(written), len(leaving))
        self._slice_norm(f"{block}.residual.0", entering, self._at_norm[f"{block}.residual.0"])
        self._slice(f"{block}.residual.2", inner, entering)
        self._slice_norm(f"{block}.residual.3", inner, written)
        self._slice(f"{block}.residual.6", leaving, inner)
        if self._projects(block):
            self._slice(f"{block}.shortcut", leaving, entering)

    def _slice_attention(self, attention: str, stream: Tensor) -> None:
        """Queries and keys lose the same channels; what is left keeps the logits' spread."""
        query, key, value = self._energy(f"{attention}.to_qkv").chunk(3)
        width = len(query)
        matched = top_channels(self._rank(query * key), len(stream))
        carried = top_channels(self._rank(value), len(stream))
        self._slice_norm(f"{attention}.norm", stream, self._at_norm[f"{attention}.norm"])
        rows = torch.cat([matched, width + matched, 2 * width + carried])
        self._slice(f"{attention}.to_qkv", rows, stream)
        gain = torch.ones(len(rows))
        gain[: len(matched)] = 1 / _held(query * key, matched)
        self.slices.gains[f"{attention}.to_qkv"] = gain
        self._slice(f"{attention}.proj", stream, carried)

    def _slice_resolution(self, name: str, entering: Tensor, leaving: Tensor) -> None:
        """The second frame's channels follow the first's in what doubles time."""
        doubling = self._decoder.get_submodule(name)
        assert isinstance(doubling, DoubleResolution)
        if doubling.time_conv is not None:
            width = doubling.time_conv.weight.shape[1]
            rows = torch.cat([entering, width + entering])
            self._slice(f"{name}.time_conv", rows, entering)
        self._slice(f"{name}.resample.1", leaving, entering)

    def _slice(self, layer: str, rows: Tensor, columns: Tensor) -> None:
        self.slices.rows[layer] = rows
        self.slices.columns[layer] = columns

    def _slice_norm(self, norm: str, channels: Tensor, energy: Tensor) -> None:
        self.slices.rows[norm] = channels
        self.slices.gains[norm] = _held(energy, channels).expand(len(channels))

    def _energy(self, layer: str) -> Tensor:
        writer = self._decoder.get_submodule(layer)
        return sum_of_squares(writer.get_parameter("weight"), writer.get_parameter("bias"))

    def _projects(self, block: str) -> bool:
        module = self._decoder.get_submodule(block)
        assert isinstance(module, WanResidualBlock)
        return module.shortcut is not None

    def _blocks(self, stage: int) -> list[str]:
        prefix = f"upsamples.{stage}.upsamples"
        return [f"{prefix}.{index}" for index in range(self._narrow.decoder_blocks)]

    def _resolution(self, stage: int) -> str:
        return f"upsamples.{stage}.upsamples.{self._narrow.decoder_blocks}"

    def _is_last(self, stage: int) -> bool:
        return stage == len(self._narrow.multipliers) - 1


def sum_of_squares(
    weight: Float[Tensor, "C ..."], bias: Float[Tensor, " C"]
) -> Float[Tensor, " C"]:
    """Return each output channel's squared L2 norm of filter and bias."""
    squares: Tensor = weight.float().square().flatten(1).sum(dim=1) + bias.float().square()
    return squares


def _held(energy: Tensor, kept: Tensor) -> Tensor:
    """Return the kept channels' root mean square over that of all."""
    tiny = torch.finfo(energy.dtype).tiny
    return ((energy[kept].mean() + tiny) / (energy.mean() + tiny)).sqrt()


def _members(groups: Tensor, size: int) -> Tensor:
    """Return the channels that `duplicate_up` makes these channels of, `size` for each."""
    return (groups[:, None] * size + torch.arange(size)).flatten()


def _ranking(shuffle: torch.Generator | None) -> Rank:
    if shuffle is None:
        return lambda scores: scores
    return lambda scores: torch.rand(len(scores), generator=shuffle)
