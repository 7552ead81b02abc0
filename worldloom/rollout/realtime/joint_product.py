"""Several linear layers that read the same rows, multiplied as one where that is faster.

A narrow product of few rows leaves a large GPU's last wave of tiles half empty, so queries, keys
and values of a segment are one product of three times the width (FP8, Hopper). The layers' weights
are moved together once; the layers stay what they are. It does not know what the layers are for.

Letters: R rows, K features in, N features out of all layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from worldloom.quantize.fp8_linear import Fp8Linear, fp8_sums, multiplies_fp8
from worldloom.quantize.rows import Rows
from worldloom.rollout.realtime.product import MOST_ROWS_UNFINISHED, Product, multiply


@dataclass(frozen=True)
class _Joint:
    """FP8 layers behind one another."""

    weight: Tensor  # [N, K]
    scale: Tensor  # [N]


class JointProduct:
    """The products of some layers and the same rows."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        """Take the layers; those in FP8 share memory from now on."""
        self.layers = layers
        in_fp8 = [layer for layer in layers if isinstance(layer, Fp8Linear)]
        self._joint = _joined(in_fp8) if len(in_fp8) == len(layers) else None

    def __call__(self, rows: Rows, dtype: torch.dtype) -> list[Product]:
        """Return every layer's answer, in the layers' order, finished or not."""
        joint = self._joint
        is_few = len(rows.values) <= MOST_ROWS_UNFINISHED
        if joint is None or not is_few or not multiplies_fp8(rows.values.device):
            return [multiply(layer, rows, dtype) for layer in self.layers]
        layers = [layer for layer in self.layers if isinstance(layer, Fp8Linear)]
        widths = [layer.out_features for layer in layers]
        sums = fp8_sums(rows, joint.weight, dtype).split(widths, dim=1)
        scales = joint.scale.split(widths)
        return [
            Product(its, rows.scale, scale, layer.bias)
            for its, scale, layer in zip(sums, scales, layers, strict=True)
        ]


def _joined(layers: list[Fp8Linear]) -> _Joint | None:
    """Move the layers' weights together, each layer's own being a part of the whole."""
    if not multiplies_fp8(layers[0].weight.device):
        return None
    weight = torch.cat([layer.weight for layer in layers])
    parts = weight.split([layer.out_features for layer in layers])
    for layer, part in zip(layers, parts, strict=True):
        setattr(layer, layer.weight_name, part)
    return _Joint(weight, torch.cat([layer.weight_scale for layer in layers]))
